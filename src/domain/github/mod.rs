//! Public GitHub activity: which events count as what, and what `/sampling` shows of them.

pub mod bot;
pub mod details;
pub mod message;
pub mod natural;
pub mod payload;
pub mod project;
pub mod restore;
pub mod row;
pub mod sampling;
pub mod selection;
