//! `healthcheck`: asks a running server whether it is well, for containers.

use std::time::Duration;

use super::Failure;
use crate::cli::{Exit, HealthcheckArgs};

/// Succeeds when the server answers `OK`.
pub async fn healthcheck(args: HealthcheckArgs) -> Result<Exit, Failure> {
    // Of the own listener, which may have a certificate for another name. It is asked nothing that matters to anybody.
    let mut any_certificate = false;
    let url = match args.url {
        Some(url) => url,
        None => {
            let config = super::load(&args.file, Vec::new())?.config;
            let (host, port, path) = match args.admin {
                true => (config.admin.host, config.admin.port, "/health".to_owned()),
                false => (config.server.host, config.server.port, config.server.health),
            };
            let host = match host.trim_start_matches('[').trim_end_matches(']') {
                "0.0.0.0" => "127.0.0.1".to_owned(),
                "::" => "[::1]".to_owned(),
                host if host.contains(':') => format!("[{host}]"),
                host => host.to_owned(),
            };
            any_certificate = !args.admin && config.server.tls.files().is_some();
            let scheme = if any_certificate { "https" } else { "http" };
            format!("{scheme}://{host}:{port}{path}")
        }
    };
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(5))
        .no_proxy()
        .danger_accept_invalid_certs(any_certificate)
        .build();
    let answer = async { client?.get(&url).send().await?.error_for_status()?.text().await };
    match answer.await {
        Ok(body) if body == "OK" => Ok(Exit::Success),
        Ok(_) => Err(Failure { message: format!("{url} does not answer OK"), exit: Exit::Unavailable }),
        Err(error) => Err(Failure::new(Exit::Unavailable, &error)),
    }
}
