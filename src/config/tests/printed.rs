//! What is shown, and what never is.

use super::*;

#[test]
fn secrets_are_never_printed() {
    let file = "
redis: {host: 'redis://me:hunter2@localhost', password: hunter2}
tidb: {password: hunter2}
risingwave: {password: hunter2}
github: {tokens: [hunter2]}
lark: {webhook: 'https://hunter2', signKey: hunter2}
alert: {webhook: 'https://hunter2'}
server: {syncToken: hunter2}
";
    let loaded = load(text(file)).unwrap();
    let printed = format!("{loaded:?}{}{}", loaded.show(), loaded.warnings.join(""));
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(loaded.show().contains("redis://me:***@localhost"));

    let wrong = "
redis: hunter2
tidb: {host: 'me:hunter2@localhost', password: [hunter2], hunter: hunter2}
github: {tokens: hunter2}
pulsar: {devHost: 'http://me:hunter2@localhost'}
lark: {webhook: hunter2, signKey: {a: hunter2}}
alert: {webhook: hunter2}
";
    let error = load(text(wrong)).unwrap_err();
    assert_eq!(error.faults().len(), 9, "{error}");
    let printed = format!("{error}{error:?}");
    assert!(!printed.contains("hunter2"), "{printed}");

    let bare = load(text("hunter2")).unwrap_err();
    assert!(!format!("{bare}{bare:?}").contains("hunter2"), "{bare}");
}

#[test]
fn show_gives_each_value_with_its_origin() {
    let shown = load(text("server: {port: 9}\ngithub: {tokens: [a, b]}")).unwrap().show();
    assert_eq!(shown.lines().count(), Shape::root().leaves().count());
    let line = |key: &str| {
        let line = shown.lines().find(|line| line.starts_with(&format!("{key} "))).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("server.port"), "server.port = 9 # config.yaml");
    assert_eq!(line("github.tokens"), "github.tokens = [***, ***] # config.yaml");
    assert_eq!(line("redis.host"), "redis.host = (not set) # default");
    assert_eq!(line("server.basePath"), "server.basePath = \"/websocket\" # default");
    assert_eq!(
        line("tidb.sql.yearly"),
        "tidb.sql.yearly = \"SELECT developers, repos, additions, deletions\" … (20 lines) # default"
    );
}
