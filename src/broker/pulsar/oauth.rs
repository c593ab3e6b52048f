//! OAuth2 with a StreamNative key file: the client's own flow, behind checks that never repeat what the file holds.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use pulsar::authentication::Authentication;
use pulsar::authentication::oauth2::{OAuth2Authentication, OAuth2Params};
use pulsar::error::AuthenticationError;
use serde_json::{Map, Value};
use tokio::sync::Mutex;

/// What authentication needs.
#[derive(Debug, Clone)]
pub struct OAuth {
    /// Whom the token is for.
    pub audience: String,
    /// The key file.
    pub key_file: PathBuf,
}

/// Why a key file cannot be used. Nothing of the file's content is part of it.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("cannot read the key file {path}")]
    Unreadable {
        /// Which file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is not what StreamNative gives out.
    #[error("the key file {path} {problem}")]
    Unusable {
        /// Which file.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },
}

/// The source of tokens, shared by the client's connections and the admin API.
#[derive(Clone)]
pub struct Tokens {
    client: Arc<Mutex<Box<dyn Authentication>>>,
    /// Never shown; this type has no `Debug`.
    secret: Arc<str>,
    /// Why the last token could not be had; the client keeps it to itself.
    refusal: Arc<std::sync::Mutex<Option<String>>>,
}

impl Tokens {
    /// Reads the key file; asks nobody yet.
    pub fn open(oauth: &OAuth) -> Result<Self, KeyFileError> {
        let (params, secret) = params(oauth)?;
        let client = Arc::new(Mutex::new(OAuth2Authentication::client_credentials(params)));
        Ok(Self { client, secret, refusal: Arc::default() })
    }

    /// Why the last token could not be had.
    pub fn refusal(&self) -> Option<String> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes the outcome. The client's error has the server's answer in it, which may repeat what it was sent.
    fn noted<T>(&self, result: Result<T, AuthenticationError>) -> Result<T, AuthenticationError> {
        let masked = |text: String| text.replace(&*self.secret, "***");
        let result = result.map_err(|error| match error {
            AuthenticationError::Custom(text) => AuthenticationError::Custom(masked(text)),
            AuthenticationError::Retriable(text) => AuthenticationError::Retriable(masked(text)),
        });
        let refusal = result.as_ref().err().map(ToString::to_string);
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
        result
    }

    /// A token that is valid now, for the admin API; `None` while none can be had.
    pub async fn bearer(&self) -> Option<String> {
        String::from_utf8(self.client.lock().await.auth_data().await.ok()?).ok()
    }
}

#[async_trait]
impl Authentication for Tokens {
    fn auth_method_name(&self) -> String {
        "token".to_owned()
    }

    async fn initialize(&mut self) -> Result<(), AuthenticationError> {
        let result = self.client.lock().await.initialize().await;
        self.noted(result)
    }

    async fn auth_data(&mut self) -> Result<Vec<u8>, AuthenticationError> {
        let result = self.client.lock().await.auth_data().await;
        self.noted(result)
    }
}

fn params(oauth: &OAuth) -> Result<(OAuth2Params, Arc<str>), KeyFileError> {
    let unreadable = |source| KeyFileError::Unreadable { path: oauth.key_file.display().to_string(), source };
    let unusable = |problem| KeyFileError::Unusable { path: oauth.key_file.display().to_string(), problem };
    let path = std::path::absolute(&oauth.key_file).map_err(unreadable)?;
    let text = std::fs::read(&path).map_err(unreadable)?;
    // The parser's own message could quote the secret.
    let key: Map<String, Value> =
        serde_json::from_slice(&text).map_err(|_| unusable("is not a JSON object"))?;
    // A value of another type reads as missing.
    let given = |name| key.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if given("type").is_some_and(|kind| kind != "client_credentials") {
        return Err(unusable("is of another type than client_credentials"));
    }
    given("client_id").ok_or_else(|| unusable("has no client_id"))?;
    let secret = given("client_secret").ok_or_else(|| unusable("has no client_secret"))?;
    let issuer = given("issuer_url").filter(|url| reqwest::Url::parse(url).is_ok());
    let issuer = issuer.ok_or_else(|| unusable("has no issuer_url that is a URL"))?;
    let credentials_url = file_url(&path).ok_or_else(|| {
        unusable("has a path with characters that the Pulsar client cannot open: rename it")
    })?;
    let audience = Some(oauth.audience.clone());
    Ok((
        OAuth2Params { issuer_url: issuer.to_owned(), credentials_url, audience, scope: None },
        secret.into(),
    ))
}

/// The URL by which the client opens `path`. It opens the URL's path without decoding it, so a path that must be
/// encoded has none.
fn file_url(path: &Path) -> Option<String> {
    let url = format!("file://{}", path.to_str()?);
    let parsed = reqwest::Url::parse(&url).ok()?;
    (Some(parsed.path()) == path.to_str()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(content: &str) -> Result<OAuth2Params, String> {
        let directory = tempfile::tempdir().unwrap();
        let key_file = directory.path().join("key.json");
        std::fs::write(&key_file, content).unwrap();
        params(&OAuth { audience: "urn:a".to_owned(), key_file })
            .map(|(params, _)| params)
            .map_err(|error| format!("{error} {error:?} {}", crate::error_chain(&error)))
    }

    #[test]
    fn a_key_file_gives_an_absolute_url_and_its_issuer() {
        let text = r#"{"type":"client_credentials","client_id":"me","client_secret":"hush","client_email":"a@b","issuer_url":"https://issuer.example/"}"#;
        let params = open(text).unwrap();
        assert_eq!(
            (params.issuer_url.as_str(), params.audience.as_deref()),
            ("https://issuer.example/", Some("urn:a"))
        );
        assert!(params.credentials_url.starts_with("file:///"));
    }

    #[test]
    fn a_bad_key_file_is_named_without_its_content() {
        for (text, said) in [
            (r#"["hush-secret"]"#, "not a JSON object"),
            (r#"{"client_secret":"hush-secret","issuer_url":"https://a/"}"#, "client_id"),
            (
                r#"{"client_id":"a","client_secret":["hush-secret"],"issuer_url":"https://a/"}"#,
                "client_secret",
            ),
            (r#"{"client_id":"a","client_secret":"hush-secret","issuer_url":"hush-secret"}"#, "issuer_url"),
            (
                r#"{"type":"hush-secret","client_id":"a","client_secret":"b","issuer_url":"https://a/"}"#,
                "type",
            ),
        ] {
            let error = open(text).unwrap_err();
            assert!(error.contains(said) && !error.contains("hush-secret"), "{error}");
        }
    }
}
