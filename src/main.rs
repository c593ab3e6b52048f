//! The `pulsehub` program.

use std::process::ExitCode;

use clap::Parser;
use pulsehub::cli::Cli;
use pulsehub::command;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Two libraries bring a TLS provider each; rustls wants to be told which one to use. A second call would fail
    // and change nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("pulsehub: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let exit = runtime.block_on(command::dispatch(Cli::parse()));
    // Threads that still block on input or output have nothing left to say.
    runtime.shutdown_background();
    exit.into()
}
