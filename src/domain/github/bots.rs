//! Which accounts are machines.

/// Whether `login` is an account of a GitHub App: these end with `[bot]`, which no account of a person can. Machines that act
/// through an ordinary account cannot be told from people by their name.
pub fn is_bot(login: &str) -> bool {
    const SUFFIX: &[u8] = b"[bot]";
    let login = login.as_bytes();
    login.len() >= SUFFIX.len() && login[login.len() - SUFFIX.len()..].eq_ignore_ascii_case(SUFFIX)
}

/// Whether `login` is likely an account of a machine, GitHub App or not, by the names that such accounts usually have. For
/// rankings, of which a few machines would take every place: a person with such a name is left out with them.
pub fn is_likely_bot(login: &str) -> bool {
    let login = login.to_ascii_lowercase();
    ["bot", "[bot]", "-ci"].iter().any(|end| login.ends_with(end))
        || ["bot-", "robot-"].iter().any(|beginning| login.starts_with(beginning))
        || login.contains("-bot-")
}

/// [`is_likely_bot`] as a condition in SQL over the column `actor_login`.
pub const IS_LIKELY_BOT_SQL: &str = "(actor_login LIKE '%bot' OR actor_login LIKE '%[bot]' OR actor_login LIKE '%-ci' \
     OR actor_login LIKE 'bot-%' OR actor_login LIKE 'robot-%' OR actor_login LIKE '%-bot-%')";

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

    #[test]
    fn likely_bots_are_bots_and_what_is_named_like_one() {
        for login in ["dependabot[bot]", "k8s-CI-Robot", "rustbot", "bot-of-mine", "my-bot-2", "acme-ci"] {
            assert!(is_likely_bot(login), "{login}");
        }
        for login in ["torvalds", "bottomless", "robota", "cindy", "", "sample-user7"] {
            assert!(!is_likely_bot(login), "{login}");
        }
    }
}
