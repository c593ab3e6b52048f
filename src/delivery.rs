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
    pub const LABELS: [&str; 9] = [
        "published",
        "spooled",
        "known",
        "ignored",
        "ping",
        "unsigned",
        "malformed",
        "unavailable",
        Self::TOO_LARGE,
    ];

    /// The label of what was too large to become a [`Delivery`].
    pub const TOO_LARGE: &str = "too_large";

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
