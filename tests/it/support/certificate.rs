//! Certificates for servers of tests, each its own authority.

use std::path::Path;
use std::process::Command;

/// Writes `key.pem` and `certificate.pem` into `directory`, for one name such as `DNS:localhost`.
pub fn write(directory: &Path, name: &str) {
    let path = |file: &str| directory.join(file);
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=test", "-addext", &format!("subjectAltName={name}")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(path("key.pem"))
        .arg("-out")
        .arg(path("certificate.pem"))
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
