//! Plain HTTP answers.

pub mod q;
pub mod status;
pub mod sync_event;
pub mod webhook;
mod webhook_body;
