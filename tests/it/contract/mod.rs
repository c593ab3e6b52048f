//! Contract suites: what the traits promise, asked of every backend under the same names.

mod broker;
mod history;
mod seed;
mod state;
