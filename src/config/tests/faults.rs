//! What is called a fault, and how it is named.

use super::*;

#[test]
fn key_in_two_spellings_is_a_fault() {
    assert_eq!(
        fault_in("server:\n  basePath: /a\n  basepath: /b"),
        "server.basePath: is given twice, as basePath and as basepath [config.yaml]"
    );
    let twice = [("PULSEHUB__REDIS__DB", "1"), ("pulsehub__redis__db", "2")];
    assert_eq!(faults_of(Sources::builtin().with_environment(twice)).len(), 1);
}

#[test]
fn key_repeated_in_one_spelling_is_named_with_its_line() {
    let error = load(text("server:\n  port: 1\n  port: 2\n")).unwrap_err();
    assert!(error.to_string().starts_with("config.yaml:3: the key \"port\" is given twice"), "{error}");
}

#[test]
fn every_fault_is_reported_in_one_run() {
    let file = "
redis: {pasword: x, db: minus}
server: {port: 70000, basePath: live}
pulsar: {env: prod}
github: {tokens: ['', good]}
dedup: {window: 60}
log: 5
";
    let mut sources = text(file).with_environment([("PULSEHUB__API__VERSION", "two")]);
    sources.overrides = vec![flag("admin.prot", "1")];
    let error = load(sources).unwrap_err();
    assert_eq!(
        error.to_string().lines().collect::<Vec<_>>(),
        [
            "dedup.window: expected a duration such as 1h30m, 10s or 500ms, found 60; a unit is missing, as in 60s \
             [config.yaml]",
            "log: expected a section of keys, found a number [config.yaml]",
            "pulsar.env: expected one of dev, formal, found the string \"prod\" [config.yaml]",
            "redis.db: expected an integer from 0 to 4294967295, found the string \"minus\" [config.yaml]",
            "redis.pasword: unknown key (did you mean redis.password?) [config.yaml]",
            "server.port: expected an integer from 0 to 65535, found 70000 [config.yaml]",
            "api.version: expected an integer from 0 to 4294967295, found the string \"two\" \
             [environment PULSEHUB__API__VERSION]",
            "admin.prot: unknown key (did you mean admin.port?) [flag --admin.prot]",
            "server.basePath: must start with /, found \"live\" [config.yaml]",
            "github.tokens[0]: is an empty token; remove it [config.yaml]",
        ]
    );
}

#[test]
fn wrong_kind_is_named_for_every_kind() {
    for (file, message) in [
        ("server: {host: 127}", "server.host: expected a string, found 127; put it in quotes"),
        ("disable: {producer: 'yes'}", "disable.producer: expected true or false, found the string \"yes\""),
        ("server: {port: 1.5}", "server.port: expected an integer from 0 to 65535, found 1.5"),
        (
            "server: {origins: 'http://a'}",
            "server.origins: expected a list of strings, found a string; write it as [x, y]",
        ),
        ("server: {origins: [1]}", "server.origins[0]: expected a string, found 1; put it in quotes"),
        ("server: {port: [1]}", "server.port: expected an integer from 0 to 65535, found a list"),
        ("server: [1]", "server: expected a section of keys, found a list"),
        (
            "interval: {latestDuring: 0}",
            "interval.latestDuring: expected an integer from 1 to 86400, found 0",
        ),
        (
            "live: {maxAge: 1d}",
            "live.maxAge: expected a duration such as 1h30m, 10s or 500ms, found the string \"1d\"; the units are h, m, s, ms, us and ns",
        ),
        (
            "tidb: {tls: requried}",
            "tidb.tls: expected one of required, preferred, disabled, found the string \"requried\" (did you mean required?)",
        ),
        (
            "log: {level: verbose}",
            "log.level: expected one of trace, debug, info, warn, error, dpanic, panic, fatal, found the string \"verbose\"",
        ),
    ] {
        assert_eq!(fault_in(file), format!("{message} [config.yaml]"));
    }
}

#[test]
fn unknown_key_gets_a_suggestion_on_its_level_or_another() {
    for (file, fault) in [
        ("serverr: {}", "serverr: unknown key (did you mean server?)"),
        (
            "pulsar: {consumer: {concurency: 1}}",
            "pulsar.consumer.concurency: unknown key (did you mean pulsar.consumer.concurrency?)",
        ),
        ("tokens: [a]", "tokens: unknown key (did you mean github.tokens?)"),
        ("redis: {timeout: 1}", "redis.timeout: unknown key (did you mean github.loop.timeout?)"),
        ("port: 1", "port: unknown key (did you mean admin.port or server.port or tidb.port?)"),
        ("server.port: 1", "server.port: unknown key; nest it instead of writing a dot"),
        ("zzz: 1", "zzz: unknown key"),
    ] {
        assert_eq!(fault_in(file), format!("{fault} [config.yaml]"));
    }
}

#[test]
fn semantic_faults_are_found() {
    for (file, path) in [
        ("server: {health: up}", "server.health"),
        ("server: {health: /x, syncEvent: /x}", "server.syncEvent"),
        ("server: {health: /x, syncEvent: /websocket/x}", "server.syncEvent"),
        ("server: {health: /sampling}", "server.health"),
        ("server: {health: '/{id}'}", "server.health"),
        ("server: {health: /stream}", "server.health"),
        ("server: {syncEvent: /q/x}", "server.syncEvent"),
        ("server: {basePath: /asyncapi.yaml}", "server.basePath"),
        ("server: {health: /assets}", "server.health"),
        ("server: {origins: ['https://a/']}", "server.origins[0]"),
        ("server: {origins: ['https://A.example']}", "server.origins[0]"),
        ("server: {origins: ['https://a.example:443']}", "server.origins[0]"),
        ("server: {host: 'http://a'}", "server.host"),
        ("github: {baseUrl: api.github.com}", "github.baseUrl"),
        ("pulsar: {devHost: 'http://a'}", "pulsar.devHost"),
        ("pulsar: {adminUrl: 'pulsar://a'}", "pulsar.adminUrl"),
        ("pulsar: {host: 'pulsar://a'}", "pulsar.devHost"),
        ("pulsar: {env: formal, host: 'pulsar://a', audience: x}", "pulsar.keypath"),
        ("pulsar: {consumer: {topic: ' '}}", "pulsar.consumer.topic"),
        ("redis: {host: 'http://a'}", "redis.host"),
        ("tidb: {host: 'localhost:4000'}", "tidb.host"),
        ("interval: {latest: 0}", "interval.latest"),
        ("github: {tokens: [a b]}", "github.tokens[0]"),
        ("storage: {path: ''}", "storage.path"),
        ("webhooks: {secrets: [' ', 0123456789abcdef]}", "webhooks.secrets[0]"),
        ("webhooks: {secrets: [0123456789abcdef, 1123456789abcdef, 2123456789abcdef]}", "webhooks.secrets"),
        ("server: {health: /webhooks/github}", "server.health"),
        ("lark: {webhook: nowhere}", "lark.webhook"),
    ] {
        let faults = faults_of(text(file));
        assert_eq!(faults.iter().map(|fault| fault.path.as_str()).collect::<Vec<_>>(), [path], "{file}");
    }
    let chosen =
        faults_of(text("pulsar: {host: 'pulsar://a'}").with_environment([("PULSEHUB__PULSAR__ENV", "dev")]));
    assert_eq!(chosen[0].origin, "config.yaml");
    assert_eq!(
        faults_of(text("pulsar: {env: prod, host: 'pulsar://a'}")).len(),
        1,
        "what follows isn't reported"
    );
    let formal: Vec<String> =
        faults_of(text("pulsar: {env: formal}")).into_iter().map(|fault| fault.path).collect();
    assert_eq!(formal, ["pulsar.host", "pulsar.audience", "pulsar.keypath"]);
}

#[test]
fn unknown_variable_is_a_fault() {
    let faults = faults_of(Sources::builtin().with_environment([("PULSEHUB__SERVER__BASE_PATH", "/x")]));
    assert_eq!(
        faults[0].to_string(),
        "server.base_path: unknown key (did you mean server.basePath?) [environment PULSEHUB__SERVER__BASE_PATH]"
    );
}

#[cfg(unix)]
#[test]
fn variable_that_is_not_text_is_a_fault() {
    use std::os::unix::ffi::OsStringExt;
    let value = std::ffi::OsString::from_vec(vec![0xff]);
    let faults = faults_of(Sources::builtin().with_environment([("PULSEHUB__REDIS__PASSWORD", value)]));
    assert_eq!(
        faults[0].to_string(),
        "redis.password: is not valid UTF-8 [environment PULSEHUB__REDIS__PASSWORD]"
    );
}

#[test]
fn syntax_error_names_file_and_line() {
    let error = load(text("server:\n  port: 1\n bad\n")).unwrap_err();
    assert!(matches!(error, ConfigError::Syntax { line: Some(_), .. }), "{error:?}");
    assert!(error.to_string().starts_with("config.yaml:"), "{error}");
    let error = load(text("- a\n")).unwrap_err();
    assert_eq!(error.to_string(), "config.yaml: expected one document, a mapping of keys to plain values");
}
