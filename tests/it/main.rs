//! Integration tests, one binary: contract suites, the pipeline on recorded data, the WebSocket contract, the program.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod architecture;
mod archive_hours;
mod archive_out;
mod backfill;
mod bad_input;
mod capture;
mod clock;
mod cluster;
mod contract;
mod coverage;
mod dead_letter;
mod disk;
mod enrichment;
mod holding;
mod intake;
mod isolation;
mod known_answers;
mod languages;
mod live_keys;
#[path = "../mock_github/mod.rs"]
mod mock_github;
mod page;
mod process;
mod program;
mod pulsar;
mod redis;
mod roles;
mod sampling;
mod simulation;
mod sockets;
mod stream;
mod support;
mod tap;
mod tidb;
mod turn;
mod webhooks;
