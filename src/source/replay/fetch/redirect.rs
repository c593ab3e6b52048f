//! Where a download may be sent on to.

use reqwest::redirect::{Attempt, Policy};

/// Mirrors and object stores take one or two.
const REDIRECTS: usize = 3;

/// Why a redirect is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("more than {REDIRECTS} redirects")]
    TooMany,
    #[error("a redirect from https to a plain connection, where anybody could answer")]
    Plain,
}

/// A few redirects are followed; from an archive at `https` only to such.
pub fn policy(archive_url: &str) -> Policy {
    let secure = is_secure(archive_url);
    Policy::custom(move |attempt: Attempt<'_>| {
        // The first request is among the previous ones.
        match refused(secure, attempt.previous().len(), attempt.url().as_str()) {
            Some(refused) => attempt.error(refused),
            None => attempt.follow(),
        }
    })
}

fn refused(secure: bool, redirects: usize, to: &str) -> Option<Refused> {
    if redirects > REDIRECTS {
        return Some(Refused::TooMany);
    }
    (secure && !is_secure(to)).then_some(Refused::Plain)
}

fn is_secure(url: &str) -> bool {
    url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_https_only_to_https_and_nowhere_for_ever() {
        let (https, http) = ("https://a.example/x", "http://a.example/x");
        assert!(is_secure("HTTPS://a.example/") && !is_secure("http://a.example/") && !is_secure(""));
        assert_eq!(refused(true, 1, https), None);
        assert_eq!(refused(true, 1, http), Some(Refused::Plain));
        assert_eq!((refused(false, 1, http), refused(false, 1, https)), (None, None));
        assert_eq!((refused(true, 3, https), refused(true, 4, https)), (None, Some(Refused::TooMany)));
    }
}
