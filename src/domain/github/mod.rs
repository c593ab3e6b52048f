//! Public GitHub activity: which events count as what, and what `/sampling` shows of them.

pub mod bots;
pub mod details;
pub mod facets;
pub mod message;
pub mod natural;
pub mod payload;
pub mod project;
pub mod repo_names;
pub mod restore;
pub mod row;
pub mod sampling;
pub mod selection;
pub mod wanted;
