//! What front ends and operators connect to: the public listener and the admin listener.

pub mod admin;
mod clients;
mod connection;
mod cross_origin;
mod dead_letter;
pub mod descriptors;
mod error;
mod health;
mod limits;
mod listener;
mod page;
mod proxy;
mod public;
mod rest;
mod router;
mod security;
mod stream;
mod tls;
mod ws;

pub use clients::Clients;
pub use limits::Connections;
pub use listener::{Options, serve};
pub use public::{Access, Public, Settings};
pub use rest::webhook::Webhooks;
pub use router::router;
pub use stream::Hub;
pub use tls::{Certificate, TlsError};
pub use ws::End;
