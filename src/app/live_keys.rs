//! The keys that change while the process runs: from the configuration to whoever reads them.

use tokio::sync::watch::{Receiver, Sender};

use crate::alert::{Lark, Limits, Routes, Webhook};
use crate::config::{Config, PollInterval, Priority};
use crate::history::backfill::Pace;
use crate::server::Access;
use crate::source::github::{self, GitHubSettings};

/// What each reader was told last. All of it comes from [`crate::config::LIVE_KEYS`], and all of these but `log.level`,
/// which the log itself has, are in it.
pub struct LiveKeys {
    /// Whether events are sent live however old they are, whatever `live.maxAge` says.
    regardless_of_age: bool,
    github: Sender<GitHubSettings>,
    max_age: Sender<Option<i64>>,
    access: Sender<Access>,
    backfill: Sender<Pace>,
    alerts: Sender<Routes>,
}

impl LiveKeys {
    /// As `config` has them.
    pub(super) fn new(config: &Config, regardless_of_age: bool) -> Self {
        Self {
            regardless_of_age,
            github: Sender::new(github(config)),
            max_age: Sender::new(max_age(config, regardless_of_age)),
            access: Sender::new(access(config)),
            backfill: Sender::new(backfill(config)),
            alerts: Sender::new(alerts(config)),
        }
    }

    /// Tells those for whom something is different in `config`.
    pub fn take_over(&self, config: &Config) {
        tell(&self.github, github(config));
        tell(&self.max_age, max_age(config, self.regardless_of_age));
        tell(&self.access, access(config));
        tell(&self.backfill, backfill(config));
        tell(&self.alerts, alerts(config));
    }

    pub(super) fn github(&self) -> Receiver<GitHubSettings> {
        self.github.subscribe()
    }

    pub(super) fn max_age(&self) -> Receiver<Option<i64>> {
        self.max_age.subscribe()
    }

    pub(super) fn access(&self) -> Receiver<Access> {
        self.access.subscribe()
    }

    pub(super) fn backfill(&self) -> Receiver<Pace> {
        self.backfill.subscribe()
    }

    pub(super) fn alerts(&self) -> Receiver<Routes> {
        self.alerts.subscribe()
    }
}

fn tell<T: PartialEq>(reader: &Sender<T>, new: T) {
    reader.send_if_modified(|current| {
        let different = *current != new;
        *current = new;
        different
    });
}

fn github(config: &Config) -> GitHubSettings {
    GitHubSettings {
        tokens: config.github.tokens.iter().map(|token| token.expose().to_owned()).collect(),
        timeout: config.github.polling.timeout(),
        break_: config.github.polling.pause(),
        poll_interval: match config.github.poll_interval {
            PollInterval::Obey => github::PollInterval::Obey,
            PollInterval::Adaptive => github::PollInterval::Adaptive,
        },
        priority: match config.github.priority {
            Priority::PullRequests => github::Priority::PullRequests,
            Priority::Everything => github::Priority::Everything,
        },
    }
}

fn max_age(config: &Config, regardless: bool) -> Option<i64> {
    (!regardless).then(|| i64::try_from(config.live.max_age.get().as_secs()).unwrap_or(i64::MAX))
}

fn access(config: &Config) -> Access {
    let server = &config.server;
    Access { sync_token: server.sync_token.expose().to_owned(), origins: server.origins.clone() }
}

fn backfill(config: &Config) -> Pace {
    Pace {
        every: config.interval.daily.get(),
        retries: config.interval.retry,
        retry_wait: config.interval.retry_wait(),
    }
}

fn alerts(config: &Config) -> Routes {
    let (lark, webhook) = (&config.lark, &config.alert.webhook);
    let limits = Limits {
        tolerance: lark.error_tolerance,
        within: lark.error_tolerance_break(),
        pause: lark.minimum_break(),
    };
    Routes {
        limits,
        lark: (!lark.webhook.is_empty()).then(|| Lark {
            webhook: lark.webhook.expose().to_owned(),
            sign_key: lark.sign_key.expose().to_owned(),
        }),
        webhook: (!webhook.is_empty()).then(|| Webhook { webhook: webhook.expose().to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LIVE_KEYS, each_key_changed};

    #[test]
    fn what_readers_are_told_comes_from_the_live_keys_and_from_all_of_them() {
        for (key, before, after) in each_key_changed() {
            let keys = LiveKeys::new(&before, false);
            let (github, max_age, access) = (keys.github(), keys.max_age(), keys.access());
            let (backfill, alerts) = (keys.backfill(), keys.alerts());
            keys.take_over(&after);
            let told = [
                github.has_changed(),
                max_age.has_changed(),
                access.has_changed(),
                backfill.has_changed(),
                alerts.has_changed(),
            ];
            let told = told.into_iter().filter(|told| *told.as_ref().unwrap()).count();
            let expected = LIVE_KEYS.contains(&key.as_str()) && key != "log.level";
            assert_eq!(told, usize::from(expected), "{key}");
        }
    }
}
