//! Reading the language window: a hash a second, or what the operator's own script makes of it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use redis::RedisError;
use redis::aio::MultiplexedConnection;

use super::keys::Keys;
use crate::state::LanguageSeconds;

/// Seconds that one pipeline asks for: an answer of a few hundred kilobytes at most.
const PIPELINE: usize = 1_000;

/// The text of `redis.lua.mergeLatest` that the predecessor documents, with every run of whitespace as one space: its
/// length and CRC-32C. It does what is done here anyway.
const DOCUMENTED: (usize, u32) = (350, 0x01797fe3);

/// The operator's script, where it is one of their own.
pub fn own_script(merge_latest: Option<&str>) -> Option<String> {
    let text = merge_latest?;
    let blank = text.trim().is_empty();
    (!blank && fingerprint(text) != DOCUMENTED).then(|| text.to_owned())
}

/// Length and CRC-32C of `text` with every run of whitespace as one space.
fn fingerprint(text: &str) -> (usize, u32) {
    let normal = text.split_whitespace().collect::<Vec<_>>().join(" ");
    (normal.len(), crc32c::crc32c(normal.as_bytes()))
}

/// The languages counted in `seconds`. At most `kept` seconds are looked at one by one; of a wider range only those
/// that the index names.
///
/// # Errors
/// When the server cannot be asked or refuses, or the operator's script fails.
pub async fn read(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    script: Option<&str>,
    seconds: RangeInclusive<i64>,
    kept: i64,
) -> Result<LanguageSeconds, RedisError> {
    let (start, end) = (*seconds.start(), *seconds.end());
    let seconds: Vec<i64> = if end.saturating_sub(start) <= kept {
        seconds.collect()
    } else {
        let mut range = redis::cmd("ZRANGEBYSCORE");
        range.arg(keys.seconds()).arg(start).arg(end).query_async(connection).await?
    };
    let digest: Option<String> = match script {
        Some(text) => Some(redis::cmd("SCRIPT").arg("LOAD").arg(text).query_async(connection).await?),
        None => None,
    };
    let mut result = LanguageSeconds::new();
    for chunk in seconds.chunks(PIPELINE) {
        let mut pipeline = redis::pipe();
        for &second in chunk {
            match &digest {
                None => pipeline.cmd("HGETALL").arg(keys.language(second)),
                // It merges a range; asked for one second at a time it gives what the window is made of.
                Some(digest) => pipeline
                    .cmd("EVALSHA")
                    .arg(digest)
                    .arg(3)
                    .arg(keys.language_prefix())
                    .arg(second)
                    .arg(second),
            };
        }
        let maps: Vec<BTreeMap<String, u64>> = pipeline.query_async(connection).await?;
        result.extend(chunk.iter().copied().zip(maps).filter(|(_, languages)| !languages.is_empty()));
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_known_by_its_words_however_it_is_indented() {
        let script = "local map = {}\nfor i = KEYS[2], KEYS[3] do\n    map[i] = 1\nend\nreturn map\n";
        let indented = script.replace('\n', "\r\n\t  ");
        assert_eq!(fingerprint(script), fingerprint(&indented));
        assert_ne!(fingerprint(script), fingerprint(&script.replace("= 1", "= 2")));
        assert_eq!(own_script(Some(script)).as_deref(), Some(script));
        assert!(own_script(None).is_none() && own_script(Some(" \n")).is_none());
    }
}
