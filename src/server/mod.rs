//! What front ends and operators connect to: the public listener and the admin listener.

pub mod admin;
mod error;
mod health;
mod listener;
mod rest;
mod router;
mod ws;

pub use listener::serve;
pub use router::{Public, Settings, router};
pub use ws::Clients;
