//! Repositories and owners whose own feeds are polled beside the public one: `github.focus`.

/// Where an entry's events are, below the API's root: first the most likely place, then the other one.
///
/// # Errors
/// What is wrong with the entry.
pub fn paths(entry: &str) -> Result<(String, Option<String>), &'static str> {
    let mut parts = entry.split('/');
    let (owner, repository) = (parts.next().unwrap_or_default(), parts.next());
    if parts.next().is_some() || !is_name(owner) || !repository.is_none_or(is_name) {
        return Err("must be owner/repo or owner");
    }
    Ok(match repository {
        Some(repository) => (format!("repos/{owner}/{repository}/events"), None),
        // Whether an owner is an organisation only GitHub knows.
        None => (format!("orgs/{owner}/events"), Some(format!("users/{owner}/events/public"))),
    })
}

/// Letters, digits and `-._`, so that it is one segment of a path; not a path's own `.` and `..`.
fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    !name.is_empty() && name.len() <= 100 && name.chars().all(allowed) && name.chars().any(|c| c != '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_the_paths_that_github_gives_it() {
        let repository = paths("rust-lang/rust.vim").unwrap();
        assert_eq!(repository, ("repos/rust-lang/rust.vim/events".to_owned(), None));
        let owner = paths("torvalds").unwrap();
        assert_eq!(owner.0, "orgs/torvalds/events");
        assert_eq!(owner.1.as_deref(), Some("users/torvalds/events/public"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "x".repeat(101);
        for entry in
            ["", "/", "a/", "/b", "a/b/c", "a b", "..", "a/..", "a?b", "https://github.com/a/b", &long]
        {
            assert!(paths(entry).is_err(), "{entry}");
        }
    }
}
