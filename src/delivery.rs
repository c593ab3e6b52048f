//! A webhook delivery on its way from the listener that receives it to the source that makes an event of it.

use async_trait::async_trait;
use bytes::Bytes;

/// The longest body that is taken, in bytes: GitHub sends no longer one.
pub const MAX_BODY_BYTES: usize = 25 << 20;

/// One delivery as it came. Nothing of it can be trusted before its signature was checked.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// `X-GitHub-Delivery`: what tells it from others; the same when GitHub sends it again. Empty where there is none.
    pub id: String,
    /// `X-GitHub-Event`: its type. Empty where there is none.
    pub event: String,
    /// `X-Hub-Signature-256`.
    pub signature: Option<String>,
    /// The body, byte for byte: the signature is over these.
    pub body: Bytes,
}

impl Delivery {
    /// Whether it has what could be a signature: `sha256=` and 64 hexadecimal digits. Without, its body need not be read.
    pub fn may_be_signed(&self) -> bool {
        let digest = self.signature.as_deref().and_then(|signature| signature.strip_prefix("sha256="));
        digest.is_some_and(|digest| digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()))
    }
}

/// Why a body was not read to its end, so that there is no [`Delivery`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unread {
    /// It is longer than [`MAX_BODY_BYTES`].
    TooLarge,
    /// Others have all the memory.
    NoRoom,
    /// It did not arrive in time.
    Late,
    /// It broke off.
    Broken,
}

impl Unread {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::TooLarge, Self::NoRoom, Self::Late, Self::Broken];

    /// Its name as a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::NoRoom => "no_room",
            Self::Late => "late",
            Self::Broken => "broken",
        }
    }
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The broker confirmed its event.
    Published,
    /// Its event lies on this disk until the broker takes it.
    Spooled,
    /// It was taken before.
    Known,
    /// No event was made of it.
    Ignored(Ignored),
    /// It is GitHub's test of the address.
    Pong,
    /// The signature is missing or wrong.
    Unsigned,
    /// It is signed, and not what GitHub sends.
    Malformed(&'static str),
    /// It can be neither published nor kept now, or is being taken already: GitHub may send it again.
    Unavailable,
}

impl Answer {
    /// All labels.
    pub const LABELS: [&str; 8] =
        ["published", "spooled", "known", "ignored", "ping", "unsigned", "malformed", "unavailable"];

    /// Its name as a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Spooled => "spooled",
            Self::Known => "known",
            Self::Ignored(_) => "ignored",
            Self::Pong => "ping",
            Self::Unsigned => "unsigned",
            Self::Malformed(_) => "malformed",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Why no event is made of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// The feed has no events of its type, or they have no natural key by which the two could be matched.
    Type,
    /// The feed has no events of its action.
    Action,
    /// A push that the feed shows as something else: of a tag, or the deletion of a branch.
    Ref,
    /// The repository is not public, so its events are nobody's business.
    Private,
    /// It lacks an id that an event needs.
    Incomplete,
}

impl Ignored {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Type, Self::Action, Self::Ref, Self::Private, Self::Incomplete];

    /// Its name as a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Action => "action",
            Self::Ref => "ref",
            Self::Private => "private",
            Self::Incomplete => "incomplete",
        }
    }
}

/// Who takes deliveries.
///
/// Guarantees:
/// - **Authentic.** Nothing of a body is read, and nothing is kept of a delivery, before its signature was found right.
/// - **Durable.** After `Published` or `Spooled` the event is applied in the end, whatever crashes.
/// - **In time.** An answer comes within seconds, also while the broker is silent.
/// - **Once.** A delivery that was answered so is `Known` when it comes again, for as long as deliveries are remembered.
#[async_trait]
pub trait Deliveries: Send + Sync {
    /// Takes one delivery. It is taken or not as a whole, also where the caller goes away meanwhile.
    async fn take(&self, delivery: Delivery) -> Answer;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sixty_four_digits_behind_the_scheme_may_be_a_signature() {
        let may_be = |signature: Option<&str>| {
            let signature = signature.map(str::to_owned);
            let (id, event) = (String::new(), String::new());
            Delivery { id, event, signature, body: Bytes::new() }.may_be_signed()
        };
        let digest = "0123456789abcdefABCDEF".repeat(3)[..64].to_owned();
        assert!(may_be(Some(&format!("sha256={digest}"))));
        assert!(!may_be(None));
        for wrong in ["", "sha256=", &digest, &format!("sha1={digest}"), &format!("sha256={digest}0")] {
            assert!(!may_be(Some(wrong)), "{wrong}");
        }
        assert!(!may_be(Some(&format!("sha256=+{}", &digest[1..]))));
    }
}
