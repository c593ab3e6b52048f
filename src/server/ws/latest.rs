//! `/language/latest`: each second the language map, as far as the client wants it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use tokio::sync::watch;

use super::params::{InvalidParams, Params};
use super::{Conversation, Handshake, upgrade};
use crate::live::{Frame, LanguageMap};
use crate::server::clients::Endpoint;
use crate::server::public::Public;

/// Upgrades the request.
pub async fn connect(State(public): State<Arc<Public>>, ws: Handshake) -> Response {
    let latest = Latest { map: public.languages.map(), request: None };
    upgrade(ws, &public, Endpoint::LanguageLatest, latest)
}

struct Latest {
    map: watch::Receiver<Arc<LanguageMap>>,
    request: Option<Request>,
}

/// What the client asked for.
struct Request {
    /// Only these; empty: all.
    languages: Vec<String>,
    /// Only so many of the most used.
    top: Option<usize>,
}

impl Request {
    fn parse(text: &str) -> Result<Self, InvalidParams> {
        let params = Params::parse(text)?;
        let top = params.integer("top")?.unwrap_or(0);
        let top =
            usize::try_from(top).map_err(|_| InvalidParams::field("top", "a number from 0 is expected"))?;
        Ok(Self { languages: params.strings("language")?, top: (top > 0).then_some(top) })
    }

    fn select<'m>(&self, map: &'m LanguageMap) -> BTreeMap<&'m String, u64> {
        let wanted = |name: &String| self.languages.is_empty() || self.languages.contains(name);
        let mut chosen: Vec<_> =
            map.iter().filter(|(name, _)| wanted(name)).map(|(name, &n)| (name, n)).collect();
        if let Some(top) = self.top {
            chosen.sort_by_key(|&(name, count)| (Reverse(count), name));
            chosen.truncate(top);
        }
        chosen.into_iter().collect()
    }
}

impl Conversation for Latest {
    fn greeting(&mut self) -> Option<Frame> {
        None
    }

    fn params(&mut self, text: &str) -> Result<(), InvalidParams> {
        self.request = Some(Request::parse(text)?);
        Ok(())
    }

    async fn next(&mut self) -> Vec<Frame> {
        let Some(request) = &self.request else { return std::future::pending().await };
        if self.map.changed().await.is_err() {
            return std::future::pending().await;
        }
        let map = self.map.borrow_and_update().clone();
        // Strings and numbers always serialise.
        vec![serde_json::to_string(&request.select(&map)).unwrap_or_default().into()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_comes_after_language_and_ties_go_by_name() {
        let map: LanguageMap =
            [("A", 1), ("B", 3), ("C", 3), ("D", 9)].map(|(name, n)| (name.to_owned(), n)).into();
        let select = |text: &str| serde_json::to_string(&Request::parse(text).unwrap().select(&map)).unwrap();
        assert_eq!(select(r#"{"top":2,"language":["C","B","A","Nope"]}"#), r#"{"B":3,"C":3}"#);
        assert_eq!(select(r#"{"top":2}"#), r#"{"B":3,"D":9}"#);
        assert_eq!(select(r#"{"top":0,"language":[]}"#), r#"{"A":1,"B":3,"C":3,"D":9}"#);
        assert_eq!(select(r#"{"language":["Nope"]}"#), "{}");
        assert!(Request::parse(r#"{"top":-1}"#).is_err());
    }
}
