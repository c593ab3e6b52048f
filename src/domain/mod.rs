//! What events mean. Pure: no runtime, no store, no clock. A second domain goes beside `github`.

pub mod github;
