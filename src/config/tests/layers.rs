//! Where values come from, and which of them holds.

use super::*;

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let file = "server: {port: 1001, health: /up}\nlog: {level: warn}";
    let mut sources =
        text(file).with_environment([("PULSEHUB__SERVER__PORT", "1002"), ("pulsehub__log__level", "debug")]);
    sources.overrides = vec![flag("server.port", "1003")];
    let Loaded { config, origins, .. } = load(sources).unwrap();
    assert_eq!(config.server.port, 1003);
    assert_eq!(config.log.level, LogLevel::Debug);
    assert_eq!(config.server.health, "/up");
    assert_eq!(config.server.sync_event, "/sync-event");
    assert_eq!(origins["server.port"], "flag --server.port");
    assert_eq!(origins["log.level"], "environment pulsehub__log__level");
    assert_eq!(origins["server.health"], "config.yaml");
    assert_eq!(origins["server.syncEvent"], "default");
}

#[test]
fn keys_match_in_any_case() {
    let file = "PULSAR: {DEVHOST: 'pulsar://a:1'}\ninterval: {latestduring: 60}";
    let config = load(text(file).with_environment([("PULSEHUB__GITHUB__BASEURL", "http://127.0.0.1:9")]))
        .unwrap()
        .config;
    assert_eq!(config.pulsar.url().unwrap().as_str(), "pulsar://a:1");
    assert_eq!(config.interval.latest_during_s, 60);
    assert_eq!(config.github.base_url.as_str(), "http://127.0.0.1:9/");
    assert_eq!(config.github.graphql_url().as_str(), "http://127.0.0.1:9/graphql");
}

#[test]
fn section_or_key_without_value_is_not_set() {
    let config = Config::from_yaml("github:\n  tokens:\nserver:\nredis:\n  host:\n  lua:\n").unwrap();
    assert_eq!(config, Config::builtin().unwrap());
    for empty in ["", "# nothing\n", "---\n", "null\n"] {
        assert_eq!(Config::from_yaml(empty).unwrap(), config, "{empty:?}");
    }
}

#[test]
fn blank_host_is_not_set() {
    let file = "redis: {host: 'localhost:6379'}\ntidb: {host: ''}\npulsar: {devHost: ' '}";
    let config = load(text(file).with_environment([("PULSEHUB__REDIS__HOST", "")])).unwrap().config;
    assert_eq!((config.redis.host, config.tidb.host.clone(), config.pulsar.dev_host), (None, None, None));
}

#[test]
fn variables_take_the_kind_of_their_key() {
    let variables = [
        ("PULSEHUB__SERVER__PORT", " 9 "),
        ("PULSEHUB__DISABLE__PRODUCER", "TRUE"),
        ("PULSEHUB__GITHUB__TOKENS", "a, b"),
        ("PULSEHUB__REDIS__PASSWORD", "007"),
        ("PULSEHUB__LIVE__MAXAGE", "90m"),
        ("PULSEHUB__ADMIN__PORT", ""),
        ("PULSEHUBX", "not ours"),
    ];
    let config = load(Sources::builtin().with_environment(variables)).unwrap().config;
    assert_eq!(config.server.port, 9);
    assert!(config.disable.producer);
    assert_eq!(config.github.tokens, [Secret::from("a"), Secret::from("b")]);
    assert_eq!(config.redis.password.expose(), "007");
    assert_eq!(config.live.max_age.to_string(), "1h30m");
    assert_eq!(config.admin.port, 8081);
}

#[test]
fn secret_can_come_from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    fs::write(&path, "p@ss \n").unwrap();
    let path = path.to_str().unwrap();
    let variables = [("PULSEHUB__REDIS__PASSWORD_FILE", path), ("PULSEHUB__GITHUB__TOKENS_FILE", path)];
    let loaded = load(Sources::builtin().with_environment(variables)).unwrap();
    assert_eq!(loaded.config.github.tokens, [Secret::from("p@ss")]);
    assert_eq!(loaded.config.redis.password.expose(), "p@ss ");
    assert_eq!(loaded.origins["redis.password"], "environment PULSEHUB__REDIS__PASSWORD_FILE");

    let both = [variables[0], ("PULSEHUB__REDIS__PASSWORD", "x")];
    assert_eq!(faults_of(Sources::builtin().with_environment(both))[0].path, "redis.password");
    let missing = [("PULSEHUB__TIDB__PASSWORD_FILE", "hunter2")];
    let fault = faults_of(Sources::builtin().with_environment(missing))[0].to_string();
    assert!(fault.starts_with("tidb.password: cannot read") && !fault.contains("hunter2"), "{fault}");
    let no_secret = [("PULSEHUB__REDIS__HOST_FILE", path)];
    assert_eq!(faults_of(Sources::builtin().with_environment(no_secret))[0].path, "redis.host_file");
}

#[test]
fn github_token_is_used_only_where_no_token_is_given() {
    let tokens = |file: &str, variables: &[(&str, &str)]| {
        let config = load(text(file).with_environment(variables.to_vec())).unwrap().config;
        config.github.tokens.iter().map(|token| token.expose().to_owned()).collect::<Vec<_>>()
    };
    let lone = ("GITHUB_TOKEN", "lone");
    assert_eq!(tokens("", &[lone]), ["lone"]);
    assert_eq!(tokens("github: {tokens: []}", &[lone]), ["lone"]);
    assert_eq!(tokens("github: {tokens: [file]}", &[lone]), ["file"]);
    assert_eq!(tokens("", &[lone, ("PULSEHUB__GITHUB__TOKENS", "env")]), ["env"]);
    assert!(tokens("", &[("GITHUB_TOKEN", " ")]).is_empty());
}

#[test]
fn file_is_searched_in_order_and_an_explicit_one_must_exist() {
    let directory = directory_with("server: {port: 1}");
    let nested = directory.path().join("nested");
    fs::create_dir_all(nested.join("config")).unwrap();
    let search = |path: &Path| {
        load(Sources { file: FileChoice::Search(path.to_owned()), ..Sources::default() }).unwrap()
    };

    assert_eq!(search(directory.path()).config.server.port, 1);
    let none = search(&nested);
    assert_eq!((none.file, none.file_is_default), (None, true));
    fs::write(nested.join("config/config.yaml"), "server: {port: 2}").unwrap();
    let found = search(&nested);
    assert_eq!((found.config.server.port, found.file_is_default), (2, false));
    assert_eq!(found.file.unwrap(), nested.join("config/config.yaml"));

    let missing = directory.path().join("missing.yaml");
    let error = load(Sources { file: FileChoice::Path(missing.clone()), ..Sources::default() }).unwrap_err();
    assert!(matches!(&error, ConfigError::Read { path, .. } if *path == missing), "{error:?}");
    assert!(error.to_string().contains("missing.yaml"));
}

#[test]
fn file_that_is_there_but_unreadable_is_not_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("config.yaml")).unwrap();
    let file = FileChoice::Search(directory.path().to_owned());
    assert!(matches!(load(Sources { file, ..Sources::default() }), Err(ConfigError::Read { .. })));
}
