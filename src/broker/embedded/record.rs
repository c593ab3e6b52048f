//! One record of the log: a batch of messages, compressed, with length and checksum.
//!
//! ```text
//! length u32 | crc32c u32 | base offset u64 | count u32 | body length u32 | ends: count × u32 | LZ4 of body
//! ```
//! All numbers are little endian; `length` counts what follows the checksum, and the checksum covers just that.

use bytes::Bytes;

use super::super::MessageBatch;

/// Length and checksum.
pub const PREFIX_BYTES: usize = 8;
const HEADER_BYTES: usize = 16;
/// No record is larger: a length above it is a damaged one, not one to allocate for.
pub const MAX_RECORD_BYTES: usize = 256 << 20;

/// What a record's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The offset of its first message.
    pub base: u64,
    /// How many messages it holds.
    pub count: u32,
}

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It ends before its length says: what a crash in the middle of a write leaves.
    #[error("the record is cut short")]
    Torn,
    /// The checksum does not match.
    #[error("the record's checksum does not match")]
    Checksum,
    /// The checksum matches, the content does not: written by something else.
    #[error("the record's content is malformed")]
    Content,
}

/// Appends the record for `batch`, whose first message has the offset `base`.
pub fn encode(base: u64, batch: &MessageBatch, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    out.extend_from_slice(&base.to_le_bytes());
    out.extend_from_slice(&narrow(batch.len()).to_le_bytes());
    out.extend_from_slice(&narrow(batch.body().len()).to_le_bytes());
    for end in batch.ends() {
        out.extend_from_slice(&end.to_le_bytes());
    }
    let body_at = out.len();
    out.resize(body_at + lz4_flex::block::get_maximum_output_size(batch.body().len()), 0);
    // The buffer has the worst case's size, so this cannot fail.
    let packed = lz4_flex::block::compress_into(batch.body(), &mut out[body_at..]).unwrap_or(0);
    out.truncate(body_at + packed);
    let header = start + PREFIX_BYTES;
    let checksum = crc32c::crc32c(&out[header..]);
    let length = narrow(out.len() - header);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
}

fn narrow(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Length and checksum from a record's first eight bytes.
pub fn prefix(bytes: [u8; PREFIX_BYTES]) -> Result<(usize, u32), Damage> {
    let (length, checksum) = bytes.split_at(4);
    let length = u32_at(length, 0)? as usize;
    if !(HEADER_BYTES..=MAX_RECORD_BYTES).contains(&length) {
        return Err(Damage::Torn);
    }
    Ok((length, u32_at(checksum, 0)?))
}

/// Checks what follows the prefix against its checksum and reads the header.
pub fn verify(content: &[u8], checksum: u32) -> Result<Header, Damage> {
    if crc32c::crc32c(content) != checksum {
        return Err(Damage::Checksum);
    }
    Ok(Header {
        base: u64::from(u32_at(content, 0)?) | u64::from(u32_at(content, 4)?) << 32,
        count: u32_at(content, 8)?,
    })
}

/// The messages of a verified record.
pub fn decode(content: &[u8]) -> Result<MessageBatch, Damage> {
    let count = u32_at(content, 8)? as usize;
    let body_bytes = u32_at(content, 12)? as usize;
    let ends_bytes = count.checked_mul(4).ok_or(Damage::Content)?;
    let packed = content.get(HEADER_BYTES + ends_bytes..).ok_or(Damage::Content)?;
    let ends =
        (0..count).map(|index| u32_at(content, HEADER_BYTES + index * 4)).collect::<Result<Vec<_>, _>>()?;
    let body = lz4_flex::block::decompress(packed, body_bytes).map_err(|_| Damage::Content)?;
    MessageBatch::from_parts(Bytes::from(body), ends).ok_or(Damage::Content)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Damage> {
    let four = bytes.get(at..at + 4).ok_or(Damage::Content)?;
    four.try_into().map(u32::from_le_bytes).map_err(|_| Damage::Content)
}

#[cfg(test)]
mod tests {
    use super::super::super::BatchBuilder;
    use super::*;

    fn sample() -> Vec<u8> {
        let mut batch = BatchBuilder::default();
        for message in ["", "one", "a longer message, a longer message, a longer message"] {
            batch.push(&[message.as_bytes()]);
        }
        let mut out = Vec::new();
        encode(7 << 40, &batch.build(), &mut out);
        out
    }

    fn read(bytes: &[u8]) -> Result<(Header, MessageBatch), Damage> {
        let first = bytes.first_chunk::<PREFIX_BYTES>().ok_or(Damage::Torn)?;
        let (length, checksum) = prefix(*first)?;
        let content = bytes.get(PREFIX_BYTES..PREFIX_BYTES + length).ok_or(Damage::Torn)?;
        Ok((verify(content, checksum)?, decode(content)?))
    }

    #[test]
    fn a_record_reads_as_it_was_written() {
        let (header, batch) = read(&sample()).unwrap();
        assert_eq!(header, Header { base: 7 << 40, count: 3 });
        assert_eq!(batch.get(0).unwrap(), "");
        assert_eq!(batch.get(1).unwrap(), "one");
        assert!(batch.get(2).unwrap().ends_with(b"longer message") && batch.get(3).is_none());
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_found() {
        let good = sample();
        for cut in 0..good.len() {
            assert!(read(&good[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bad).is_err(), "bit {bit}");
        }
    }
}
