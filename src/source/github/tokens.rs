//! The identities that may ask GitHub: the first that works is used, one that is refused is set aside for a while.
//!
//! The others stand by for a token that dies, not for a quota that is spent: pooling several people's tokens to
//! exceed the limits is against GitHub's terms (section H).

use std::fmt;
use std::time::Duration;

use reqwest::header::HeaderValue;
use tokio::time::Instant;

use crate::retry::Backoff;

/// A token, ready to be sent; neither its `Debug` nor any error shows it.
#[derive(Clone, PartialEq)]
pub struct Token(HeaderValue);

impl Token {
    /// `None` where `text` cannot stand in a header.
    fn new(text: &str) -> Option<Self> {
        let mut value = HeaderValue::try_from(format!("Bearer {text}")).ok()?;
        value.set_sensitive(true);
        Some(Self(value))
    }

    /// The value of `Authorization`, marked as sensitive.
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(masked)")
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub enum Identity {
    /// Nobody in particular.
    Anonymous,
    /// The token at this place in the configuration.
    Token(usize, Token),
    /// No token works; one may be tried again then.
    None(Instant),
}

impl Identity {
    /// Whether the same one asks, at whatever place of the configuration.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Anonymous, Self::Anonymous) => true,
            (Self::Token(_, token), Self::Token(_, other)) => token == other,
            (Self::None(until), Self::None(other)) => until == other,
            _ => false,
        }
    }
}

/// All tokens.
#[derive(Debug)]
pub struct Tokens(Vec<Entry>);

#[derive(Debug, Clone)]
struct Entry {
    token: Token,
    backoff: Backoff,
    aside_until: Option<Instant>,
}

impl Tokens {
    /// Blank ones are ignored. A refused one is first set aside for about `base`, then longer, up to `cap`. The
    /// error is the place of a token that cannot be one.
    pub fn new(tokens: &[String], base: Duration, cap: Duration) -> Result<Self, usize> {
        let texts = tokens.iter().map(|token| token.trim()).enumerate().filter(|(_, text)| !text.is_empty());
        let entry = |(place, text): (usize, &str)| {
            let token = Token::new(text).ok_or(place)?;
            Ok(Entry { token, backoff: Backoff::new(base, cap), aside_until: None })
        };
        texts.map(entry).collect::<Result<_, _>>().map(Self)
    }

    /// With what `former` ones are known of those that stay: a refused one is not tried again for being listed again.
    pub fn remembering(mut self, former: &Self) -> Self {
        for entry in &mut self.0 {
            if let Some(known) = former.0.iter().find(|known| known.token == entry.token) {
                *entry = known.clone();
            }
        }
        self
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who asks now.
    pub fn pick(&self, now: Instant) -> Identity {
        let free = |entry: &Entry| entry.aside_until.is_none_or(|until| until <= now);
        if let Some((index, entry)) = self.0.iter().enumerate().find(|(_, entry)| free(entry)) {
            return Identity::Token(index, entry.token.clone());
        }
        let earliest = self.0.iter().filter_map(|entry| entry.aside_until).min();
        earliest.map_or(Identity::Anonymous, Identity::None)
    }

    /// GitHub refused the token; `true` the first time since it last worked.
    pub fn set_aside(&mut self, index: usize, now: Instant) -> bool {
        let entry = &mut self.0[index];
        entry.aside_until = Some(now + entry.backoff.next_delay());
        entry.backoff.failures() == 1
    }

    /// GitHub accepted the token; `true` if it had refused it before.
    pub fn works(&mut self, index: usize) -> bool {
        let entry = &mut self.0[index];
        let refused = entry.aside_until.take().is_some();
        entry.backoff.reset();
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(texts: &[&str]) -> Tokens {
        let texts: Vec<_> = texts.iter().map(|&text| text.to_owned()).collect();
        Tokens::new(&texts, Duration::from_secs(30), Duration::from_secs(600)).unwrap()
    }

    fn index(tokens: &Tokens, now: Instant) -> Option<usize> {
        match tokens.pick(now) {
            Identity::Token(index, _) => Some(index),
            Identity::Anonymous | Identity::None(_) => None,
        }
    }

    #[test]
    fn the_first_token_that_is_not_set_aside_asks() {
        let (mut tokens, now) = (tokens(&["a", " ", "b"]), Instant::now());
        assert_eq!(index(&tokens, now), Some(0));
        assert!(tokens.set_aside(0, now));
        assert_eq!(index(&tokens, now), Some(1));
        assert!(tokens.set_aside(1, now));
        let Identity::None(until) = tokens.pick(now) else { panic!("a token that was set aside asks") };
        assert!((15..=30).contains(&(until - now).as_secs()));
        assert!(index(&tokens, until).is_some());
    }

    #[test]
    fn a_token_that_stays_dead_is_set_aside_for_longer_and_said_once() {
        let (mut tokens, now) = (tokens(&["a"]), Instant::now());
        assert!(tokens.set_aside(0, now));
        assert!(tokens.works(0));
        assert_eq!(index(&tokens, now), Some(0));
        assert!(tokens.set_aside(0, now));
        for _ in 0..9 {
            assert!(!tokens.set_aside(0, now));
        }
        let Identity::None(until) = tokens.pick(now) else { panic!("a token that was set aside asks") };
        assert!((300..=600).contains(&(until - now).as_secs()));
        assert!(tokens.works(0));
        assert!(!tokens.works(0));
    }

    #[test]
    fn blank_tokens_are_none_and_broken_ones_are_named_by_their_place() {
        assert!(tokens(&["", " "]).is_empty());
        assert!(matches!(tokens(&[]).pick(Instant::now()), Identity::Anonymous));
        let texts = ["good".to_owned(), "a\nb".to_owned()];
        assert_eq!(Tokens::new(&texts, Duration::ZERO, Duration::ZERO).unwrap_err(), 1);
    }
}
