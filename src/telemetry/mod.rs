//! Logs and metrics.

pub mod log;
pub mod names;
pub mod seldom;

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

/// Installs the process's metrics recorder; the handle renders it for Prometheus.
///
/// # Errors
/// When a recorder is installed already.
pub fn install_metrics() -> Result<PrometheusHandle, BuildError> {
    // Seconds from half a millisecond to ten.
    let buckets = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
    let handle = PrometheusBuilder::new().set_buckets(&buckets)?.install_recorder()?;
    names::describe();
    Ok(handle)
}
