//! Whose fault it is that a script cannot work with a value: that of the events which touch it, or, where all events
//! meet, that of the store.

use std::error::Error;

use redis::RedisError;

use super::Inner;
use super::error::code;
use crate::event::year_of;
use crate::state::StateError;

impl Inner {
    /// The error of a batch that arrived at `now` (Unix milliseconds) and that was refused for what it would touch.
    pub(super) async fn blame(
        &self,
        reason: &'static str,
        source: Box<dyn Error + Send + Sync>,
        now: i64,
    ) -> StateError {
        let shared = match source.downcast_ref::<RedisError>() {
            Some(error) => self.is_in_the_way_of_all(error, now).await,
            None => false,
        };
        match shared {
            true => StateError::Refused { reason, source },
            false => StateError::Unfit { reason, source },
        }
    }

    async fn is_in_the_way_of_all(&self, error: &RedisError, now: i64) -> bool {
        let keys = self.shared_keys(now.div_euclid(1000));
        match (code(error), error.detail()) {
            // A field of `ph:days` is one day's.
            ("MALFORMED", Some(detail)) => keys
                .iter()
                .any(|(key, _)| *key != self.keys.days() && detail.starts_with(format!("{key} ").as_str())),
            // Redis does not say which key it was.
            ("WRONGTYPE", _) => self.has_another_type(&keys).await,
            _ => false,
        }
    }

    /// The keys that almost any batch in this second names, with the types that they have: an event of another year or day
    /// than now's must not stop all others.
    fn shared_keys(&self, second: i64) -> Vec<(String, &'static str)> {
        let (keys, year) = (&self.keys, year_of(second));
        let period = year.to_string();
        let mut shared = vec![
            (keys.epoch(), "string"),
            (keys.seq(), "string"),
            (keys.seconds(), "zset"),
            (keys.days(), "hash"),
            (keys.language(second), "hash"),
            (keys.own(&period), "hash"),
            (keys.base(&period), "hash"),
            (keys.seed(year), "hash"),
        ];
        shared.extend(keys.published(year).map(|key| (key, "hash")));
        shared
    }

    async fn has_another_type(&self, keys: &[(String, &'static str)]) -> bool {
        let Ok(session) = self.link.session().await else { return true };
        let mut pipeline = redis::pipe();
        for (key, _) in keys {
            pipeline.cmd("TYPE").arg(key);
        }
        let types: Result<Vec<String>, _> = pipeline.query_async(&mut session.reads.clone()).await;
        // A store that cannot be asked is asked again, with the same batch: nobody is guilty meanwhile.
        types.map_or(true, |types| {
            types.iter().zip(keys).any(|(found, (_, wanted))| found != wanted && found != "none")
        })
    }
}
