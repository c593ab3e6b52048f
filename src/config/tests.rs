//! What an operator can rely on: the default and the predecessor's example load, and every key is documented.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::shape::Shape;
use super::*;

mod faults;
mod layers;
mod printed;
pub(crate) mod reload;

/// A configuration as the predecessor's README shows it, with the block of `mergeLatest` indented.
const PREDECESSOR: &str = include_str!("../../tests/fixtures/predecessor.yaml");

/// A directory with this text as `config.yaml`.
fn directory_with(text: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("config.yaml"), text).unwrap();
    directory
}

fn text(text: &str) -> Sources {
    let file = FileChoice::Text { name: PathBuf::from("config.yaml"), text: text.to_owned() };
    Sources { file, ..Sources::default() }
}

fn faults_of(sources: Sources) -> Vec<Fault> {
    match load(sources) {
        Err(ConfigError::Invalid(faults)) => faults,
        other => panic!("expected faults, found {other:?}"),
    }
}

/// The one fault of a file, as it is printed.
fn fault_in(file: &str) -> String {
    let faults = faults_of(text(file));
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults[0].to_string()
}

fn flag(path: &str, value: &str) -> Override {
    (path.to_owned(), value.to_owned(), format!("flag --{path}"))
}

/// The default file with its commented-out keys (`#key:`, no space) made active.
fn uncommented() -> String {
    let mut active = String::new();
    for line in DEFAULT_YAML.lines() {
        let body = line.trim_start();
        let is_key =
            body.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
        active += &if is_key { line.replacen('#', "", 1) } else { line.to_owned() };
        active += "\n";
    }
    active
}

#[test]
fn default_file_alone_is_a_full_configuration() {
    let loaded = load(text(DEFAULT_YAML)).unwrap();
    assert!(loaded.file_is_default);
    assert_eq!(loaded.config, Config::builtin().unwrap());
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(loaded.config.server.port, 8080);
    assert_eq!(loaded.config.dedup.window, Span::from_secs(48 * 3600));
    assert_eq!(loaded.config.interval.latest_during(), Duration::from_secs(3600));
}

#[test]
fn default_file_documents_every_key() {
    let keys = file::parse(Path::new("config.yaml"), &uncommented()).unwrap();
    let mut faults = Vec::new();
    let layer = check::Layer::of_tree(keys, "config.yaml", &mut faults);
    assert_eq!(faults, []);
    for (path, _) in Shape::root().leaves() {
        assert!(layer.leaves.contains_key(&path), "config/config.yaml doesn't mention {path}");
    }
}

#[test]
fn default_selects_the_embedded_stores_and_the_example_lines_are_sound() {
    let config = Config::builtin().unwrap();
    assert_eq!((config.pulsar.url(), &config.redis.host, &config.tidb.host), (None, &None, &None));
    assert!(config.writes_history());
    // A file of this machine in place of the example's.
    let authorities = tempfile::NamedTempFile::new().unwrap();
    let file = authorities.path().to_str().unwrap();
    let text = ["ca.pem", "server.pem", "server.key"]
        .iter()
        .fold(uncommented(), |text, name| text.replace(&format!("/etc/pulsehub/{name}"), file));
    let all = Config::from_yaml(&text).unwrap();
    assert!(all.pulsar.url().is_some() && all.redis.host.is_some() && all.tidb.host.is_some());
}

#[test]
fn schema_describes_every_key() {
    let schema = schema();
    assert!(schema["$schema"].is_string() && schema["title"].is_string());
    for (path, _) in Shape::root().paths() {
        let key = path.split('.').fold(&schema, |schema, key| &schema["properties"][key]);
        assert!(key["description"].is_string(), "{path} has no description: {key}");
    }
    assert_eq!(schema["properties"]["server"]["properties"]["port"]["default"], 8080);
    assert_eq!(schema["properties"]["redis"]["properties"]["password"]["writeOnly"], true);
    assert!(!schema.to_string().contains("\"required\":["), "a file may leave out any key");
}

#[test]
fn shape_knows_the_kinds() {
    let shapes: BTreeMap<String, &Shape> = Shape::root().leaves().collect();
    assert_eq!(shapes["server.port"], &Shape::Integer { min: 0, max: 65535 });
    assert_eq!(shapes["pulsar.consumer.concurrency"], &Shape::Integer { min: 1, max: 1024 });
    assert_eq!(shapes["history.write"], &Shape::Boolean);
    assert_eq!(shapes["live.maxAge"], &Shape::Span);
    assert_eq!(shapes["redis.host"], &Shape::Text { secret: false });
    assert_eq!(
        shapes["tidb.tls"],
        &Shape::Choice(["required", "preferred", "disabled"].map(str::to_owned).to_vec())
    );
    let secrets: Vec<&str> =
        shapes.iter().filter(|(_, shape)| shape.is_secret()).map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        secrets,
        [
            "alert.webhook",
            "github.identities",
            "github.tokens",
            "lark.signKey",
            "lark.webhook",
            "redis.password",
            "risingwave.password",
            "server.syncToken",
            "tidb.password",
            "webhooks.secrets"
        ]
    );
}

#[test]
fn predecessors_example_loads_unchanged() {
    let Loaded { config, warnings, .. } = load(text(PREDECESSOR)).unwrap();
    assert_eq!(config.server.port, 6000);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.redis.host.as_ref().unwrap().as_str(), "localhost:6379");
    assert!(
        config
            .redis
            .lua
            .merge_latest
            .as_ref()
            .unwrap()
            .starts_with("local sums, reply = {}, {}\nfor second = KEYS[2]")
    );
    assert_eq!(config.pulsar.url().unwrap().as_str(), "pulsar://localhost:6650");
    assert_eq!(config.pulsar.consumer.concurrency, 5);
    assert_eq!(config.github.polling.timeout(), Duration::from_secs(5));
    assert_eq!(config.github.polling.pause(), Duration::from_secs(1));
    assert_eq!(config.github.tokens[0].expose(), "ghp_XXXXXXXXXXXXXXXXXXXXXXXXX");
    assert_eq!(config.interval.daily.get(), Duration::from_secs(60));
    assert_eq!(config.interval.retry_wait(), Duration::from_secs(10));
    assert_eq!(config.tidb.tls(), TidbTls::Disabled);
    assert!(config.tidb.sql.events_daily.starts_with("SELECT event_day, \n    COUNT("));
    assert_eq!(config.lark.minimum_break(), Duration::from_secs(3600));
    assert!(!config.writes_history());
    // Port 6000 and the section of RisingWave.
    assert_eq!(warnings.len(), 2, "{warnings:?}");
}

#[test]
fn graphql_belongs_to_the_host_of_the_rest_api() {
    let of = |file: &str| Config::from_yaml(file).unwrap().github.graphql_url().as_str().to_owned();
    assert_eq!(of(""), "https://api.github.com/graphql");
    assert_eq!(
        of("github: {baseUrl: 'https://git.example.org/api/v3'}"),
        "https://git.example.org/api/graphql"
    );
    assert_eq!(of("github: {graphqlUrl: 'https://x.example.org/q'}"), "https://x.example.org/q");
}

#[test]
fn ports_may_be_zero_and_so_may_the_dedup_window() {
    let config = Config::from_yaml("server: {port: 0}\nadmin: {port: 0}\ndedup: {window: 0}").unwrap();
    assert_eq!((config.server.port, config.admin.port), (0, 0));
    assert!(config.dedup.window.is_zero());
}

#[test]
fn tls_depends_on_where_the_host_is() {
    for (host, tls) in [
        ("localhost", TidbTls::Disabled),
        ("127.0.0.2", TidbTls::Disabled),
        ("'::1'", TidbTls::Disabled),
        ("tidb.example.org", TidbTls::Required),
    ] {
        let config = Config::from_yaml(&format!("tidb: {{host: {host}}}")).unwrap();
        assert_eq!(config.tidb.tls(), tls, "{host}");
    }
    assert_eq!(Config::from_yaml("tidb: {host: a, tls: Preferred}").unwrap().tidb.tls(), TidbTls::Preferred);
}

#[test]
fn zaps_levels_count_as_error() {
    for level in ["dpanic", "panic", "fatal", "ERROR"] {
        assert_eq!(
            Config::from_yaml(&format!("log: {{level: {level}}}")).unwrap().log.level.as_str(),
            "error"
        );
    }
}
