//! Each key is live or waits for the next start, and a change of it is seen, also where it is never shown.

use super::*;
use crate::config::reload::{Changes, LIVE_KEYS};

/// A value other than the example's for each key, valid beside all other examples.
fn other_value(path: &str, shape: &Shape) -> String {
    match path {
        "server.basePath" | "server.health" | "server.syncEvent" => "/other".to_owned(),
        "pulsar.devHost" | "pulsar.host" => "pulsar://other:6650".to_owned(),
        "redis.host" => "other:6379".to_owned(),
        "tidb.host" => "other".to_owned(),
        // They must exist.
        "tls.ca" | "pulsar.keypath" | "server.tls.certificate" | "server.tls.key" => text_of(&std::env::current_exe().unwrap()),
        "history.write" => "false".to_owned(),
        "server.trustedProxies" => "192.0.2.0/24".to_owned(),
        "github.focus" => "other/repository".to_owned(),
        "github.identities" => r#"[{"tokens":["other"]}]"#.to_owned(),
        _ => match shape {
            Shape::Boolean => "true".to_owned(),
            Shape::Integer { .. } => "17".to_owned(),
            Shape::Choice(words) => {
                let examples = ["dev", "required", "info", "text", "pull_requests", "auto"];
                words.iter().find(|word| !examples.contains(&word.as_str())).unwrap().clone()
            }
            Shape::Span => "17m".to_owned(),
            Shape::List(_) => "https://other.example.org".to_owned(),
            Shape::Text { .. } if path.to_lowercase().ends_with("url") || path.ends_with("webhook") => {
                "https://other.example.org".to_owned()
            }
            Shape::Text { .. } => "other".to_owned(),
            Shape::Section(_) => unreachable!("a section has no value"),
        },
    }
}

fn text_of(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Each key with a configuration, and another one in which that key alone is different.
fn each_key() -> Vec<(String, Loaded, Loaded)> {
    let authorities = tempfile::NamedTempFile::new().unwrap();
    let file = text_of(authorities.path());
    let all = uncommented().replace("/etc/pulsehub/ca.pem", &file).replace("/etc/pulsehub/key.json", &file);
    let all = all.replace("/etc/pulsehub/server.pem", &file).replace("/etc/pulsehub/server.key", &file);
    // A signing key has no effect without this.
    let all = all.replacen("webhook: \"\"", "webhook: https://lark.example.org", 1);
    let with = |overrides| load(Sources { overrides, ..super::text(&all) });
    let before = with(Vec::new()).unwrap();
    let changed = |(path, shape): (String, &Shape)| {
        let after =
            with(vec![flag(&path, &other_value(&path, shape))]).unwrap_or_else(|e| panic!("{path}: {e}"));
        (path, before.clone(), after)
    };
    Shape::root().leaves().map(changed).collect()
}

/// The same for whoever has to read the keys.
pub(crate) fn each_key_changed() -> Vec<(String, Config, Config)> {
    each_key().into_iter().map(|(path, before, after)| (path, before.config, after.config)).collect()
}

#[test]
fn every_key_is_live_or_named_as_waiting_for_the_next_start() {
    let keys = each_key();
    assert!(keys.len() > 60, "{}", keys.len());
    for (path, before, after) in keys {
        let (mut live, mut at_next_start) = (vec![path], Vec::new());
        if !LIVE_KEYS.contains(&live[0].as_str()) {
            std::mem::swap(&mut live, &mut at_next_start);
        }
        let expected = Changes { live, at_next_start };
        assert_eq!(before.changes(&after), expected);
        assert_eq!(after.changes(&before), expected);
        assert_eq!(before.changes(&before), Changes::default());
    }
}

#[test]
fn the_live_keys_are_keys_and_the_default_file_names_them() {
    let paths: Vec<String> = Shape::root().leaves().map(|(path, _)| path).collect();
    let header: String = DEFAULT_YAML.lines().take_while(|line| line.starts_with('#')).collect();
    for key in LIVE_KEYS {
        assert!(paths.iter().any(|path| path == key), "{key}");
        let section = key.split('.').next().unwrap();
        assert!(header.contains(key) || header.contains(&format!("{section}.*")), "{key} is not in {header}");
    }
}

#[test]
fn a_change_of_a_secret_is_seen_and_not_shown() {
    for (path, before, after) in [
        ("redis.password", "redis: {password: hunter2}", "redis: {password: hunter3}"),
        ("redis.host", "redis: {host: 'redis://u:hunter2@a'}", "redis: {host: 'redis://u:hunter3@a'}"),
        ("github.tokens", "github: {tokens: [hunter2]}", "github: {tokens: [hunter3]}"),
    ] {
        let (before, after) = (load(text(before)).unwrap(), load(text(after)).unwrap());
        let changes = before.changes(&after);
        assert_eq!([changes.live, changes.at_next_start].concat(), [path]);
        assert!(!format!("{before:?} {after:?}").contains("hunter"));
    }
}

#[test]
fn what_is_written_in_another_way_is_no_change() {
    let [before, after] = ["live: {maxAge: 1h}", "live: {maxAge: 60m}"].map(|file| load(text(file)).unwrap());
    assert_eq!(before.changes(&after), Changes::default());
}
