//! The first contact with a store: its epoch, and what a predecessor left in it.

use std::collections::BTreeSet;

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, RedisError};

use super::keys::Keys;
use super::scripts::{Arguments, Script, Scripts};
use crate::event::Day;

/// How often the predecessor may write a day between the look at its hashes and their takeover.
const ATTEMPTS: usize = 5;

/// The store's epoch; where it has none, it gets one, and what a predecessor left is taken over.
///
/// # Errors
/// When the server cannot be asked or refuses, or a predecessor does not stop writing.
pub async fn start(
    connection: &mut MultiplexedConnection,
    scripts: &Scripts,
    keys: &Keys,
    now: i64,
) -> Result<String, RedisError> {
    let known: Option<String> = redis::cmd("GET").arg(keys.epoch()).query_async(connection).await?;
    if let Some(epoch) = known {
        return Ok(epoch);
    }
    let candidate = format!("{:032x}", fastrand::u128(..));
    let mut attempt = 1;
    loop {
        let arguments = arguments(connection, keys, now).await?;
        match scripts.call(connection, Script::Start, &candidate, &arguments).await {
            Err(error) if error.code() == Some("AGAIN") && attempt < ATTEMPTS => attempt += 1,
            reply => {
                let (epoch, days): (String, u64) = FromRedisValue::from_redis_value(reply?)?;
                if days > 0 {
                    tracing::info!(days, "took over the counters of a predecessor, kept beside as ph:old:*");
                }
                return Ok(epoch);
            }
        }
    }
}

/// KEYS and ARGV of `start.lua`.
async fn arguments(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    now: i64,
) -> Result<Arguments, RedisError> {
    let today = Day::of(now).map(|day| day.to_string()).unwrap_or_default();
    let mut arguments = Arguments::default();
    arguments.key(keys.epoch()).key(keys.seq()).arg(&today);
    for year in years(connection, keys).await? {
        let published = keys.published(year);
        let mut days = BTreeSet::new();
        for key in &published[..4] {
            let fields: Vec<String> = redis::cmd("HKEYS").arg(key).query_async(connection).await?;
            days.extend(fields.into_iter().filter(|day| *day < today));
        }
        for key in published {
            arguments.key(key);
        }
        for name in Keys::published_names(year) {
            arguments.key(keys.old(&name));
        }
        arguments.key(keys.base(&year.to_string())).arg(days.len());
        for day in days {
            arguments.key(keys.base(&day)).arg(&day);
        }
    }
    Ok(arguments)
}

/// The years of which there are published hashes.
async fn years(connection: &mut MultiplexedConnection, keys: &Keys) -> Result<BTreeSet<i16>, RedisError> {
    let names = ["daily_open_", "daily_merge_", "daily_close_", "daily_dev_", "daily_year_", "year_sum_"];
    let mut years = BTreeSet::new();
    for pattern in ["daily_", "year_sum_"] {
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(keys.pattern(pattern)).arg("COUNT").arg(1_000);
            let (next, found): (u64, Vec<Vec<u8>>) = scan.query_async(connection).await?;
            let found = found.iter().filter_map(|key| std::str::from_utf8(key).ok());
            years.extend(found.filter_map(|key| names.iter().find_map(|name| keys.year_of(key, name))));
            if next == 0 {
                break;
            }
            cursor = next;
        }
    }
    Ok(years)
}
