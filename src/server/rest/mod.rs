//! Plain HTTP answers.

pub mod status;
