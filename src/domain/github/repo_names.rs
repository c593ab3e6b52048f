//! A set of repositories given by name, or by patterns of names.
//!
//! A pattern is matched from left to right without ever going back: between two `*` stands a part of fixed length, and the first
//! place where it fits is as good as any later one.

use std::collections::HashSet;

/// Names longer than this match no pattern; GitHub's have 140 characters at most.
const MAX_MATCHED_BYTES: usize = 512;

/// Repositories by `owner/name`, whatever the case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepoNames {
    names: HashSet<Box<str>>,
    patterns: Vec<[Pattern; 2]>,
}

/// What is no name of a repository, nor a pattern of such names: it has no owner or no name, or more than one slash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`owner/name` is expected, where both may have `*` and `?`")]
pub struct NotARepo;

impl RepoNames {
    /// Adds a name or a pattern: in both halves `*` stands for any run of characters, `?` for one.
    ///
    /// # Errors
    /// [`NotARepo`] where it has not exactly two halves.
    pub fn add(&mut self, name: &str) -> Result<(), NotARepo> {
        let name = name.to_ascii_lowercase();
        let (owner, repo) = halves(&name).ok_or(NotARepo)?;
        if is_pattern(&name) {
            self.patterns.push([owner, repo].map(Pattern::new));
        } else {
            self.names.insert(name.into());
        }
        Ok(())
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.patterns.is_empty()
    }

    /// Patterns in it.
    pub fn patterns(&self) -> usize {
        self.patterns.len()
    }

    /// Whether a name in lower case is in it.
    pub fn contains(&self, name: &str) -> bool {
        if self.names.contains(name) {
            return true;
        }
        let Some((owner, repo)) = halves(name).filter(|_| name.len() <= MAX_MATCHED_BYTES) else {
            return false;
        };
        self.patterns.iter().any(|[owners, repos]| owners.matches(owner) && repos.matches(repo))
    }
}

fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

fn halves(name: &str) -> Option<(&str, &str)> {
    let (owner, repo) = name.split_once('/')?;
    (!owner.is_empty() && !repo.is_empty() && !repo.contains('/')).then_some((owner, repo))
}

/// What stands between the `*` of one half; a single part where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern(Vec<Box<str>>);

impl Pattern {
    fn new(half: &str) -> Self {
        Self(half.split('*').map(Into::into).collect())
    }

    fn matches(&self, text: &str) -> bool {
        let Some((first, others)) = self.0.split_first() else { return false };
        let Some(mut rest) = after(text, first) else { return false };
        let Some((last, middle)) = others.split_last() else { return rest.is_empty() };
        for part in middle {
            let Some(found) = rest.char_indices().find_map(|(at, _)| after(&rest[at..], part)) else {
                // An empty part fits also where nothing is left.
                if part.is_empty() {
                    continue;
                }
                return false;
            };
            rest = found;
        }
        let length = last.chars().count();
        let end = rest.chars().count().checked_sub(length);
        end.is_some_and(|skipped| {
            let at = rest.char_indices().nth(skipped).map_or(rest.len(), |(at, _)| at);
            after(&rest[at..], last).is_some()
        })
    }
}

/// What follows `part` at the beginning of `text`; `None` where it does not stand there.
fn after<'t>(text: &'t str, part: &str) -> Option<&'t str> {
    let mut rest = text.chars();
    for wanted in part.chars() {
        let found = rest.next()?;
        if wanted != '?' && wanted != found {
            return None;
        }
    }
    Some(rest.as_str())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        let mut names = RepoNames::default();
        names.add(pattern).unwrap();
        names.contains(&name.to_ascii_lowercase())
    }

    #[test]
    fn names_and_patterns_match_whatever_their_case_and_never_across_the_slash() {
        for (pattern, name) in [
            ("Rust-Lang/Rust", "rust-lang/rust"),
            ("rust-lang/*", "rust-lang/rust"),
            ("*/linux", "torvalds/Linux"),
            ("*/*", "a/b"),
            ("k*s/k?s", "kubernetes/k8s"),
            ("*a*b*/x", "__a_a_b/x"),
            ("a**b/?", "ab/é"),
            ("*aab/x", "aaab/x"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("rust-lang/rust", "rust-lang/rustup"),
            ("rust-*", "rust-lang/rust"),
            ("*/linux", "torvalds/linux-next"),
            ("rust*/x", "rust/y/x"),
            ("a?/b", "a/b"),
            ("*a*b/x", "ba/x"),
            ("ab*ba/x", "aba/x"),
        ] {
            assert!(
                !RepoNames::default().add(pattern).is_ok_and(|()| matches(pattern, name)),
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn what_has_not_two_halves_is_refused() {
        for pattern in ["", "/", "rust", "a/", "/b", "a/b/c", "*"] {
            assert_eq!(RepoNames::default().add(pattern), Err(NotARepo), "{pattern}");
        }
    }

    #[test]
    fn the_worst_patterns_take_no_longer_than_their_length_times_the_names() {
        let pattern = format!("{}b/{}b", "a*".repeat(100), "?*".repeat(100));
        let mut names = RepoNames::default();
        for _ in 0..64 {
            names.add(&pattern).unwrap();
        }
        let name = format!("{0}/{0}", "a".repeat(250));
        let started = Instant::now();
        for _ in 0..100 {
            assert!(!names.contains(&name));
        }
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        assert!(!names.contains(&format!("a/{}", "b".repeat(100_000))), "too long to be looked at");
    }

    /// The definition, with all its going back.
    fn by_definition(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|skipped| by_definition(rest, &text[skipped..])),
            Some((wanted, rest)) => text.split_first().is_some_and(|(found, text)| {
                (*wanted == '?' || wanted == found) && by_definition(rest, text)
            }),
        }
    }

    proptest! {
        #[test]
        fn never_going_back_finds_the_same(pattern in "[ab?*]{1,8}", text in "[abé]{1,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = by_definition(&chars(&pattern), &chars(&text));
            prop_assert_eq!(Pattern::new(&pattern).matches(&text), expected);
        }
    }
}
