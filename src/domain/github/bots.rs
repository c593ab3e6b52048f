//! Which accounts are machines.

/// Whether `login` is an account of a GitHub App: these end with `[bot]`, which no account of a person can. Machines that act
/// through an ordinary account cannot be told from people by their name.
pub fn is_bot(login: &str) -> bool {
    const SUFFIX: &[u8] = b"[bot]";
    let login = login.as_bytes();
    login.len() >= SUFFIX.len() && login[login.len() - SUFFIX.len()..].eq_ignore_ascii_case(SUFFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bots_are_known_by_the_end_of_their_name() {
        for login in ["dependabot[bot]", "Renovate[BOT]", "[bot]"] {
            assert!(is_bot(login), "{login}");
        }
        for login in ["", "bot", "robot", "[bot]x", "ä[bot", "ot]"] {
            assert!(!is_bot(login), "{login}");
        }
    }
}
