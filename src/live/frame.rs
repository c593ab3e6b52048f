//! A text message as it goes over the wire of a WebSocket: written once, shared by all clients that get it.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

/// A whole text message in one frame with its header (RFC 6455, section 5.2). Servers do not mask, so that the same bytes
/// suit every client. Clones share them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Frame(Bytes);

/// The first byte: the only frame of its message, of text.
const TEXT: u8 = 0x81;
/// Lengths up to here fit into the second byte,
const SHORT: usize = 125;
/// and that length says that eight bytes with the length follow; the one before it, that two do.
const EIGHT_BYTES: u8 = 127;

impl Frame {
    /// A frame of one text.
    pub fn text(text: &str) -> Self {
        Self::encode(TEXT, text.as_bytes())
    }

    /// A frame with the given first byte.
    pub(crate) fn encode(first: u8, payload: &[u8]) -> Self {
        let mut frame = BytesMut::with_capacity(payload.len() + 10);
        frame.put_u8(first);
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(length), _) if usize::from(length) <= SHORT => frame.put_u8(length),
            (_, Ok(length)) => {
                frame.put_u8(EIGHT_BYTES - 1);
                frame.put_u16(length);
            }
            _ => {
                frame.put_u8(EIGHT_BYTES);
                frame.put_u64(payload.len() as u64);
            }
        }
        frame.put_slice(payload);
        Self(frame.freeze())
    }

    /// The bytes on the wire; none for the default, which is no message at all.
    pub fn wire(&self) -> &Bytes {
        &self.0
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        let header = match self.0.get(1).map(|length| length & EIGHT_BYTES) {
            None => return "",
            Some(EIGHT_BYTES) => 10,
            Some(length) if usize::from(length) > SHORT => 4,
            Some(_) => 2,
        };
        // It was made from text.
        std::str::from_utf8(&self.0[header..]).unwrap_or_default()
    }
}

impl From<String> for Frame {
    fn from(text: String) -> Self {
        Self::text(&text)
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Frame").field(&self.as_str()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_length_has_the_header_of_the_standard() {
        for (length, header) in [
            (0, &[0x81, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (65_535, &[0x81, 126, 255, 255]),
            (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let text = "x".repeat(length);
            let frame = Frame::from(text.clone());
            assert_eq!(frame.wire()[..header.len()], *header, "{length}");
            assert_eq!((frame.wire().len(), frame.as_str()), (header.len() + length, text.as_str()));
        }
        assert_eq!((Frame::default().as_str(), Frame::default().wire().len()), ("", 0));
    }
}
