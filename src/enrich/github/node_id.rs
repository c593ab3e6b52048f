//! The node id of a pull request, computed from two numbers that its event has.
//!
//! GitHub calls node ids opaque, so a computed one that it refuses is no fault: the pull request is then asked for by name.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// `PR_` and base64url of the MessagePack array [0, repository, pull request].
pub fn pull_request(repo: u64, pull_request: u64) -> String {
    let mut packed = vec![0x93, 0x00];
    pack(repo, &mut packed);
    pack(pull_request, &mut packed);
    format!("PR_{}", URL_SAFE_NO_PAD.encode(packed))
}

/// A number in the shortest form of MessagePack (github.com/msgpack/msgpack, spec.md, "int format family").
fn pack(number: u64, packed: &mut Vec<u8>) {
    let bytes = number.to_be_bytes();
    let (mark, width) = match number {
        0..=0x7f => (None, 1),
        0x80..=0xff => (Some(0xcc), 1),
        0x100..=0xffff => (Some(0xcd), 2),
        0x1_0000..=0xffff_ffff => (Some(0xce), 4),
        _ => (Some(0xcf), 8),
    };
    packed.extend(mark);
    packed.extend_from_slice(&bytes[8 - width..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_node_id_is_computed() {
        assert_eq!(pull_request(851_268_184, 2_175_477_439), "PR_kwDOMr1SWM6Bqya_");
    }

    #[test]
    fn numbers_take_the_shortest_form() {
        let packed = |number| {
            let mut packed = Vec::new();
            pack(number, &mut packed);
            packed
        };
        assert_eq!(packed(127), [0x7f]);
        assert_eq!(packed(128), [0xcc, 0x80]);
        assert_eq!(packed(256), [0xcd, 1, 0]);
        assert_eq!(packed(65_536), [0xce, 0, 1, 0, 0]);
        assert_eq!(packed(1 << 32), [0xcf, 0, 0, 0, 1, 0, 0, 0, 0]);
    }
}
