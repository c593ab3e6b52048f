//! Integration tests, one binary: contract suites, the pipeline on recorded data, the WebSocket contract, the program.

mod support;
