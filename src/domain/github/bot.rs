//! Which actors are programs, by their login: the only thing that every event says of them.

/// How the logins of programs end: GitHub Apps with `[bot]`, which no person's can.
const ENDS: [&str; 3] = ["bot", "[bot]", "-ci"];
/// How they begin.
const BEGINS: [&str; 2] = ["bot-", "robot-"];
/// What they have inside.
const HAS: &str = "-bot-";

/// The same as a condition in SQL over the column `actor_login`; `LIKE` ignores case as this module does.
pub const IS_BOT_SQL: &str = "(actor_login LIKE '%bot' OR actor_login LIKE '%[bot]' OR actor_login LIKE '%-ci' \
     OR actor_login LIKE 'bot-%' OR actor_login LIKE 'robot-%' OR actor_login LIKE '%-bot-%')";

/// Whether `login` is a program's, by its form. People whose name ends in "bot" are taken for one.
pub fn is_bot(login: &str) -> bool {
    let login = login.to_ascii_lowercase();
    ENDS.iter().any(|end| login.ends_with(end))
        || BEGINS.iter().any(|begin| login.starts_with(begin))
        || login.contains(HAS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_from_people_by_their_login() {
        let programs =
            ["dependabot[bot]", "Renovate[bot]", "k8s-ci-robot", "rustbot", "bot-of-mine", "my-bot-2", "acme-ci"];
        assert!(programs.iter().all(|login| is_bot(login)));
        let people = ["torvalds", "bottomless", "robota", "cindy", "", "sample-user7", "bot"];
        assert_eq!(people.iter().filter(|login| is_bot(login)).collect::<Vec<_>>(), [&"bot"]);
    }
}
