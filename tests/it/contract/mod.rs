//! Contract suites: what the traits promise, asked of every backend under the same names.

mod broker;
mod dead_letters;
mod history;
mod retry;
mod seed;
mod state;
mod twins;
