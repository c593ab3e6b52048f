//! What one identity asks with: the first that works is used, one that is refused is set aside for a while.
//!
//! The others stand by for one that dies, not for a quota that is spent: all tokens of a user share one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use tokio::time::Instant;

use super::client::{Client, Failure};
use super::installation::Installation;
use crate::retry::Pause;

/// As whom a request is made; neither its `Debug` nor any error shows a token.
#[derive(Clone)]
pub enum Credential {
    /// Nobody in particular.
    Anonymous,
    /// The value of `Authorization`.
    Token(HeaderValue),
    /// An App's installation, which has a token for an hour.
    Installation(Arc<Installation>),
}

/// The value of `Authorization` for a token, marked as sensitive; `None` where it cannot stand in a header.
pub fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Credential {
    /// What to send as `Authorization`.
    ///
    /// # Errors
    /// When an installation is given no token.
    pub async fn authorization(
        &self,
        client: &Client,
        timeout: Duration,
    ) -> Result<Option<HeaderValue>, Failure> {
        match self {
            Self::Anonymous => Ok(None),
            Self::Token(value) => Ok(Some(value.clone())),
            Self::Installation(installation) => installation.authorization(client, timeout).await.map(Some),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Anonymous, Self::Anonymous) => true,
            (Self::Token(token), Self::Token(other)) => token == other,
            (Self::Installation(installation), Self::Installation(other)) => Arc::ptr_eq(installation, other),
            _ => false,
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Token(_) => "Token(masked)",
            Self::Installation(_) => "Installation(masked)",
        })
    }
}

/// All credentials of one identity, at least one.
#[derive(Debug, Clone)]
pub struct Credentials(Vec<Entry>);

#[derive(Debug, Clone)]
struct Entry {
    credential: Credential,
    /// While it is set aside.
    aside: Pause,
}

/// The credential at a place, or when one may be tried again.
#[derive(Debug, Clone)]
pub enum Pick {
    /// This one asks.
    Ask(usize, Credential),
    /// All are set aside until then.
    Aside(Instant),
}

impl Credentials {
    /// One that is refused is first left alone for about `pause.0`, then longer, up to `pause.1`.
    pub fn new(credentials: Vec<Credential>, pause: (Duration, Duration)) -> Self {
        let entry = |credential| Entry { credential, aside: Pause::new(pause) };
        Self(credentials.into_iter().map(entry).collect())
    }

    /// Tokens of one user; blank ones are none.
    ///
    /// # Errors
    /// The place of a token that cannot stand in a header.
    pub fn of_tokens(texts: &[String], pause: (Duration, Duration)) -> Result<Option<Self>, usize> {
        let texts = texts.iter().enumerate().filter(|(_, text)| !text.trim().is_empty());
        let tokens = texts.map(|(place, text)| bearer(text.trim()).map(Credential::Token).ok_or(place));
        let tokens: Vec<_> = tokens.collect::<Result<_, _>>()?;
        Ok((!tokens.is_empty()).then(|| Self::new(tokens, pause)))
    }

    /// With what `former` ones are known of those that stay: a refused one is not tried again for being listed again.
    pub fn remembering(mut self, former: &Self) -> Self {
        for entry in &mut self.0 {
            if let Some(known) = former.0.iter().find(|known| known.credential.is_same(&entry.credential)) {
                *entry = known.clone();
            }
        }
        self
    }

    /// Whether nobody in particular asks.
    pub fn is_anonymous(&self) -> bool {
        self.0.iter().all(|entry| matches!(entry.credential, Credential::Anonymous))
    }

    /// What to ask with now.
    pub fn pick(&self, now: Instant) -> Pick {
        let free = |entry: &Entry| entry.aside.until(now).is_none();
        if let Some((index, entry)) = self.0.iter().enumerate().find(|(_, entry)| free(entry)) {
            return Pick::Ask(index, entry.credential.clone());
        }
        Pick::Aside(self.0.iter().filter_map(|entry| entry.aside.until(now)).min().unwrap_or(now))
    }

    /// Whether GitHub refused all of them when they were last tried.
    pub fn are_refused(&self) -> bool {
        self.0.iter().all(|entry| entry.aside.is_failing())
    }

    /// Whether the same one asks as in `other`, at whatever place.
    pub fn picks_same(&self, other: &Self, now: Instant) -> bool {
        match (self.pick(now), other.pick(now)) {
            (Pick::Ask(_, credential), Pick::Ask(_, other)) => credential.is_same(&other),
            (Pick::Aside(until), Pick::Aside(other)) => until == other,
            _ => false,
        }
    }

    /// GitHub refused the credential at `index` in a request that left at `sent`; `true` the first time since it last
    /// worked.
    pub fn set_aside(&mut self, index: usize, sent: Instant, now: Instant) -> bool {
        let Some(entry) = self.0.get_mut(index) else { return false };
        entry.aside.failed(None, sent, now) && entry.aside.failures() == 1
    }

    /// GitHub accepted the credential in a request that left at `sent`; `true` if it had refused it before.
    pub fn works(&mut self, index: usize, sent: Instant) -> bool {
        self.0.get_mut(index).is_some_and(|entry| entry.aside.worked(sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));

    fn tokens(texts: &[&str]) -> Credentials {
        let texts: Vec<_> = texts.iter().map(|&text| text.to_owned()).collect();
        Credentials::of_tokens(&texts, PAUSE).unwrap().unwrap()
    }

    fn index(tokens: &Credentials, now: Instant) -> Option<usize> {
        match tokens.pick(now) {
            Pick::Ask(index, _) => Some(index),
            Pick::Aside(_) => None,
        }
    }

    #[test]
    fn the_first_token_that_is_not_set_aside_asks() {
        let (mut tokens, now) = (tokens(&["a", " ", "b"]), Instant::now());
        assert_eq!(index(&tokens, now), Some(0));
        assert!(tokens.set_aside(0, now, now));
        assert_eq!(index(&tokens, now), Some(1));
        assert!(!tokens.are_refused());
        assert!(tokens.set_aside(1, now, now));
        assert!(tokens.are_refused());
        let Pick::Aside(until) = tokens.pick(now) else { panic!("a token that was set aside asks") };
        assert!((15..=30).contains(&(until - now).as_secs()));
        assert!(index(&tokens, until).is_some());
        assert!(tokens.are_refused(), "it may be tried, and has not worked");
    }

    #[test]
    fn a_token_that_stays_dead_is_set_aside_for_longer_and_said_once() {
        let (mut tokens, mut now) = (tokens(&["a"]), Instant::now());
        let mut later = |seconds| {
            now += Duration::from_secs(seconds);
            now
        };
        let first = later(0);
        assert!(tokens.set_aside(0, first, first));
        let sent = later(60);
        assert!(!tokens.works(0, first), "it left before the refusal");
        assert!(tokens.works(0, sent));
        assert_eq!(index(&tokens, sent), Some(0));
        assert!(tokens.set_aside(0, sent, sent));
        for _ in 0..9 {
            let sent = later(600);
            assert!(!tokens.set_aside(0, sent, sent));
            assert!(!tokens.set_aside(0, sent, sent), "it was on its way when the other was refused");
        }
        let now = later(0);
        let Pick::Aside(until) = tokens.pick(now) else { panic!("a token that was set aside asks") };
        assert!((300..=600).contains(&(until - now).as_secs()));
        let now = later(600);
        assert!(tokens.works(0, now));
        assert!(!tokens.works(0, now));
    }

    #[test]
    fn blank_tokens_are_none_and_broken_ones_are_named_by_their_place() {
        let of = |texts: &[&str]| {
            let texts: Vec<_> = texts.iter().map(|&text| text.to_owned()).collect();
            Credentials::of_tokens(&texts, PAUSE).map(|tokens| tokens.is_some())
        };
        assert_eq!((of(&["", " "]), of(&[]), of(&["good", "a\nb"])), (Ok(false), Ok(false), Err(1)));
    }

    #[test]
    fn no_token_is_shown() {
        let text = format!("{:?} {:?}", tokens(&["hunter2"]), bearer("hunter2"));
        assert!(!text.contains("hunter2"), "{text}");
    }
}
