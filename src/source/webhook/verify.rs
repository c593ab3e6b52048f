//! Whether a body was signed by somebody who has a secret: HMAC-SHA-256 over its bytes, compared in constant time.
//!
//! <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>

use ring::hmac;

/// What stands before the digest in `X-Hub-Signature-256`.
const SCHEME: &str = "sha256=";

/// The secrets that a body may be signed with: one, or two while it is being changed.
pub struct Secrets(Vec<hmac::Key>);

impl Secrets {
    /// Any of `secrets` will do.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        Self(secrets.into_iter().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())).collect())
    }

    /// Whether `signature` is that of `body` by one of the secrets. All of them are tried, so that the time tells nothing.
    pub fn signed(&self, body: &[u8], signature: &str) -> bool {
        let Some(digest) = signature.strip_prefix(SCHEME).and_then(digest) else { return false };
        self.0.iter().fold(false, |signed, key| signed | hmac::verify(key, body, &digest).is_ok())
    }
}

/// The bytes of 64 hexadecimal digits.
fn digest(text: &str) -> Option<[u8; 32]> {
    let (mut bytes, digits) = ([0; 32], text.as_bytes());
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GitHub's own example, from the page above.
    const SECRET: &str = "It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn githubs_example_is_signed() {
        assert!(Secrets::new([SECRET]).signed(BODY, SIGNATURE));
        assert!(Secrets::new([SECRET]).signed(BODY, &SIGNATURE.replace("757107ea", "757107EA")));
    }

    #[test]
    fn either_of_two_secrets_will_do_and_no_third() {
        assert!(Secrets::new([SECRET, "new"]).signed(BODY, SIGNATURE));
        assert!(Secrets::new(["new", SECRET]).signed(BODY, SIGNATURE));
        assert!(!Secrets::new(["new", "other"]).signed(BODY, SIGNATURE));
        assert!(!Secrets::new([]).signed(BODY, SIGNATURE));
    }

    #[test]
    fn anything_else_is_not_signed() {
        let secrets = Secrets::new([SECRET]);
        assert!(!secrets.signed(b"Hello, World! ", SIGNATURE));
        let digest = &SIGNATURE[SCHEME.len()..];
        for wrong in [
            "",
            "sha256=",
            digest,
            &format!("sha1={digest}"),
            &SIGNATURE[..SIGNATURE.len() - 1],
            &format!("{SIGNATURE}0"),
            &format!("sha256=+{}", &digest[1..]),
            &format!("sha256={}", "é".repeat(32)),
            &SIGNATURE.replace("757107ea", "757107eb"),
        ] {
            assert!(!secrets.signed(BODY, wrong), "{wrong}");
        }
    }
}
