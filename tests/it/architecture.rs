//! What `ARCHITECTURE.md` says of the code: the paths exist, the dependency arrows hold.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Rust files at or below `path`, without their tests.
fn sources(path: &str) -> Vec<PathBuf> {
    let path = root().join(path);
    if path.is_file() {
        return vec![path];
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())) {
        let child = entry.unwrap().path();
        let name = child.file_name().unwrap().to_string_lossy().into_owned();
        if child.is_dir() {
            files.extend(sources(child.strip_prefix(root()).unwrap().to_str().unwrap()));
        } else if name.ends_with(".rs") && !name.contains("tests") && name != "harness.rs" {
            files.push(child);
        }
    }
    files
}

/// The code of a file in front of its unit tests, without comments.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The modules of this crate that a file's code names, also all of those inside `use crate::{a, b::{c, d}}`.
fn named(code: &str) -> BTreeSet<&str> {
    code.split("crate::").skip(1).flat_map(first_names).collect()
}

/// What the paths behind `crate::` begin with: one path, or a list in braces.
fn first_names(paths: &str) -> Vec<&str> {
    let Some(list) = paths.strip_prefix('{') else { return vec![first_name(paths)] };
    let (mut names, mut depth) = (vec![first_name(list)], 0);
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(first_name(&list[at + 1..])),
            _ => {}
        }
    }
    names
}

fn first_name(path: &str) -> &str {
    path.trim_start()
        .split(|character: char| character != '_' && !character.is_alphanumeric())
        .next()
        .unwrap()
}

fn assert_ignorant(places: &[&str], modules: &[&str]) {
    for place in places {
        let files = sources(place);
        assert!(!files.is_empty(), "{place}");
        for file in files {
            let code = code(&file);
            let named = named(&code);
            for module in modules {
                assert!(!named.contains(module), "{} must not know {module}", file.display());
            }
        }
    }
}

#[test]
fn every_path_that_is_named_exists() {
    for document in ["ARCHITECTURE.md", "README.md"] {
        let text = std::fs::read_to_string(root().join(document)).unwrap();
        let named = text.split('`').skip(1).step_by(2).filter(|word| {
            let first = word.split('/').next().unwrap();
            let places = ["src", "tests", "benches", "config", "scripts", "lua", "compose.yaml", "Makefile"];
            places.contains(&first) && !word.contains(' ')
        });
        let named: Vec<_> = named.collect();
        assert!(!named.is_empty(), "{document} names no paths");
        for path in named {
            assert!(root().join(path).exists(), "{document} names {path}, which does not exist");
        }
    }
}

/// All text below `path`.
fn text_below(path: &Path) -> String {
    if path.is_file() {
        return std::fs::read_to_string(path).unwrap_or_default();
    }
    let children = std::fs::read_dir(path).unwrap().map(|child| child.unwrap().path());
    children.map(|child| text_below(&child)).collect()
}

#[test]
fn what_is_guaranteed_is_shown_by_tests_that_exist() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, section) = readme.split_once("## What is guaranteed, and what is not\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    assert!(root().join("tests/chaos/RESULTS.md").exists());
    let code = ["src", "tests"].map(|path| text_below(&root().join(path))).concat();
    let protocols = text_below(&root().join("tests/chaos"));
    let sentences: Vec<_> = section.split("\n- ").skip(1).collect();
    assert!(sentences.len() > 10, "{} sentences", sentences.len());
    for sentence in sentences {
        let quoted: Vec<_> = sentence.split('`').skip(1).step_by(2).collect();
        let protocol = |name: &&&str| name.contains('-') && !name.contains(['/', ' ']);
        let test = |name: &&&str| name.matches('_').count() > 3;
        for name in quoted.iter().filter(protocol) {
            assert!(protocols.contains(&format!("    name = \"{name}\"")), "no such protocol: {name}");
        }
        for name in quoted.iter().filter(test) {
            assert!(code.contains(&format!("fn {name}(")), "no such test: {name}");
        }
        assert!(quoted.iter().any(|name| protocol(&name) || test(&name)), "nothing shows: {sentence}");
    }
}

#[test]
fn every_name_of_a_list_is_seen() {
    let code =
        "use crate::{broker::{self, state}, live,\n    worker_pool};\nfn f() { crate::server::serve() }";
    assert_eq!(named(code), BTreeSet::from(["broker", "live", "server", "worker_pool"]));
}

#[test]
fn the_core_is_pure() {
    let outside = [
        "source", "dedup", "broker", "worker", "state", "history", "live", "server", "app", "storage",
        "clock",
    ];
    assert_ignorant(&["src/domain"], &outside);
    for file in
        sources("src/domain").into_iter().chain([root().join("src/event.rs"), root().join("src/mutation.rs")])
    {
        for runtime in ["tokio", "axum", "redis", "fjall", "std::time", "std::fs", "std::net"] {
            assert!(!code(&file).contains(runtime), "{} must not know {runtime}", file.display());
        }
    }
    assert_ignorant(&["src/event.rs", "src/mutation.rs"], &["domain"]);
    assert_ignorant(&["src/event.rs", "src/mutation.rs"], &outside);
}

#[test]
fn dependencies_point_one_way() {
    let engines = ["src/broker", "src/state", "src/dedup.rs", "src/storage"];
    assert_ignorant(&engines, &["source", "worker", "live", "server", "app", "command", "cli", "config"]);
    assert_ignorant(&["src/source"], &["worker", "state", "live", "server", "app", "command", "config"]);
    assert_ignorant(
        &["src/archive"],
        &["source", "dedup", "broker", "worker", "state", "live", "server", "app", "command", "config"],
    );
    assert_ignorant(
        &["src/coverage"],
        &[
            "dedup", "broker", "worker", "state", "live", "server", "app", "command", "config", "clock",
            "storage",
        ],
    );
    assert_ignorant(&["src/worker"], &["source", "dedup", "server", "app", "command", "config"]);
    assert_ignorant(
        &["src/enrich"],
        &[
            "broker", "worker", "state", "history", "live", "server", "app", "command", "cli", "config",
            "dedup",
        ],
    );
    assert_ignorant(
        &["src/history", "src/alert"],
        &["source", "dedup", "broker", "worker", "live", "server", "app", "command", "cli", "config"],
    );
    assert_ignorant(
        &["src/delivery.rs"],
        &["source", "server", "worker", "broker", "state", "live", "app", "config"],
    );
    assert_ignorant(
        &["src/live"],
        &["source", "dedup", "broker", "worker", "server", "app", "command", "config"],
    );
    assert_ignorant(&["src/server"], &["source", "dedup", "worker", "config", "app", "command", "cli"]);
    assert_ignorant(
        &["src/config"],
        &["source", "broker", "worker", "state", "live", "server", "app", "command"],
    );
}

#[test]
fn only_the_topology_names_concrete_backends() {
    for file in sources("src") {
        let path = file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let inside = [
            "src/app",
            "src/broker/embedded",
            "src/broker/pulsar",
            "src/state/embedded",
            "src/state/redis",
            "src/history/tidb",
        ];
        let inside = inside.iter().any(|place| path.starts_with(place));
        if !inside {
            let code = code(&file);
            for backend in ["EmbeddedBroker", "PulsarBroker", "EmbeddedState", "RedisState", "TidbHistory"] {
                assert!(!code.contains(backend), "{path} must not know {backend}");
            }
        }
    }
}

#[test]
fn only_main_ends_the_process() {
    for file in sources("src") {
        assert!(!code(&file).contains("process::exit"), "{}", file.display());
    }
}
