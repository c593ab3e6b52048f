//! What front ends and operators connect to: the public listener and the admin listener.

pub mod admin;
mod cross_origin;
mod dead_letter;
mod error;
mod health;
mod listener;
mod page;
mod public;
mod rest;
mod router;
mod stream;
mod ws;

pub use listener::serve;
pub use public::{Access, Public, Settings};
pub use rest::webhook::Webhooks;
pub use router::router;
pub use stream::Hub;
pub use ws::Clients;
