//! A GitHub App's installation as an identity: a signed claim buys a token for an hour, which is renewed before it ends.
//!
//! docs.github.com, apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use reqwest::header::HeaderValue;
use ring::rand::SystemRandom;
use ring::rsa::KeyPair;
use ring::signature::RSA_PKCS1_SHA256;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::client::{Client, Failure};
use super::credentials::bearer;

/// GitHub takes claims for ten minutes at most, by its own clock.
const CLAIM_SECONDS: i64 = 9 * 60;
/// How far this machine's clock may be ahead.
const BACKDATED_SECONDS: i64 = 60;
/// A token is renewed this long before it ends.
const RENEW_SECONDS: i64 = 5 * 60;

/// An App's installation and the token that it has.
pub struct Installation {
    app: String,
    installation: u64,
    key: KeyPair,
    /// Held while a token is bought, so that the requests that need one buy it once.
    token: Mutex<Option<(HeaderValue, i64)>>,
}

#[derive(Deserialize)]
struct Bought {
    token: String,
    expires_at: Timestamp,
}

impl Installation {
    /// `app` is the App's id or client id; `pem` holds its RSA private key, PKCS#1 or PKCS#8.
    ///
    /// # Errors
    /// What is wrong with the key.
    pub fn new(app: String, installation: u64, pem: &[u8]) -> Result<Self, String> {
        let key =
            match PrivateKeyDer::from_pem_slice(pem).map_err(|error| format!("no key in PEM: {error}"))? {
                PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()),
                PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()),
                _ => return Err("it is not an RSA key".to_owned()),
            };
        let key = key.map_err(|error| error.to_string())?;
        Ok(Self { app, installation, key, token: Mutex::new(None) })
    }

    /// The value of `Authorization` to ask with; buys a token where there is none that lasts.
    ///
    /// # Errors
    /// When GitHub gives none: whatever the reason, it is the installation's, and no page's.
    pub async fn authorization(&self, client: &Client, timeout: Duration) -> Result<HeaderValue, Failure> {
        let mut token = self.token.lock().await;
        let now = client.clock().unix_seconds();
        if let Some((value, expires)) = &*token
            && *expires - RENEW_SECONDS > now
        {
            return Ok(value.clone());
        }
        let claim = self.claim(now).and_then(|claim| bearer(&claim)).ok_or(Failure::Unsigned)?;
        let path = format!("app/installations/{}/access_tokens", self.installation);
        let body = client.post(&path, timeout, claim).await.map_err(|failure| match failure {
            // The App was removed from where it was installed.
            Failure::NotFound => Failure::Unauthorized,
            failure @ Failure::RateLimited { .. } => failure,
            failure => Failure::NoToken(Box::new(failure)),
        })?;
        let no_token = |error| Failure::NoToken(Box::new(Failure::NotJson(error)));
        let bought: Bought = serde_json::from_slice(&body).map_err(no_token)?;
        let value = bearer(&bought.token).ok_or(Failure::Unsigned)?;
        *token = Some((value.clone(), bought.expires_at.as_second()));
        Ok(value)
    }

    /// GitHub refuses the token, whatever its time: the next request buys another.
    pub async fn forget(&self) {
        *self.token.lock().await = None;
    }

    /// RFC 7519, signed with RS256.
    fn claim(&self, now: i64) -> Option<String> {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
        let claims = serde_json::json!({
            "iat": now - BACKDATED_SECONDS,
            "exp": now + CLAIM_SECONDS,
            "iss": self.app,
        });
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
