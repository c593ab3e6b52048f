//! Encryption of the public listener: the certificate, and the one that takes its place when the files change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::shutdown::Shutdown;

/// How often the files are looked at. They are read as a whole: the time of a change can be that of another file that a
/// link now leads to.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("cannot use {path}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key cannot be used together.
    #[error("certificate and key cannot be used together")]
    Pair(#[source] rustls::Error),
}

/// Certificate and key as they stand in their files.
pub struct Certificate {
    paths: [PathBuf; 2],
    texts: RwLock<[Vec<u8>; 2]>,
    acceptor: RwLock<TlsAcceptor>,
}

impl Certificate {
    /// Reads the certificate chain and the key, both in PEM.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn open(certificate: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let paths = [certificate, key];
        let texts = read(&paths)?;
        let acceptor = acceptor(&paths, &texts)?;
        Ok(Self { paths, texts: RwLock::new(texts), acceptor: RwLock::new(acceptor) })
    }

    /// What new connections are encrypted with. Those that are open keep what they began with.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the files until shutdown. A pair that cannot be used is named once, and the old one stays.
    pub async fn follow(&self, mut shutdown: Shutdown) {
        let mut named = String::new();
        while shutdown.sleep(LOOK_EVERY).await {
            match self.look() {
                Ok(false) => {}
                Ok(true) => {
                    named.clear();
                    tracing::info!(file = %self.paths[0].display(), "the certificate was read again");
                }
                Err(error) => {
                    let error = crate::error_chain(&error);
                    if error != named {
                        tracing::warn!(error, "cannot take over the certificate, the old one stays");
                        named = error;
                    }
                }
            }
        }
    }

    /// Takes over what changed; whether anything did.
    fn look(&self) -> Result<bool, TlsError> {
        let texts = read(&self.paths)?;
        if texts == *self.texts.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(false);
        }
        *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = acceptor(&self.paths, &texts)?;
        *self.texts.write().unwrap_or_else(PoisonError::into_inner) = texts;
        Ok(true)
    }
}

fn read(paths: &[PathBuf; 2]) -> Result<[Vec<u8>; 2], TlsError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
    };
    Ok([read(&paths[0])?, read(&paths[1])?])
}

fn acceptor(paths: &[PathBuf; 2], [chain, key]: &[Vec<u8>; 2]) -> Result<TlsAcceptor, TlsError> {
    let bad = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Pem { path, source }
    };
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(bad(&paths[0]))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(bad(&paths[1]))?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    let mut config = config.map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
