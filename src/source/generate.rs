//! Synthetic events: invented people, repositories and pull requests in the shape of the real feed.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde_json::{Value, json};

/// Languages with their weights, roughly as pull requests on GitHub have them.
const LANGUAGES: [(&str, u32); 14] = [
    ("Python", 18),
    ("TypeScript", 17),
    ("JavaScript", 14),
    ("Java", 9),
    ("Go", 9),
    ("C++", 7),
    ("Rust", 6),
    ("C#", 5),
    ("PHP", 4),
    ("C", 3),
    ("Shell", 3),
    ("Ruby", 2),
    ("Kotlin", 2),
    ("Swift", 1),
];

/// Event types with their weights. Pull requests are more frequent than in the real feed: they are what one watches.
const TYPES: [(&str, u32); 12] = [
    ("PushEvent", 45),
    ("PullRequestEvent", 22),
    ("CreateEvent", 8),
    ("WatchEvent", 8),
    ("IssueCommentEvent", 6),
    ("IssuesEvent", 3),
    ("DeleteEvent", 2),
    ("ForkEvent", 2),
    ("PullRequestReviewEvent", 1),
    ("ReleaseEvent", 1),
    ("PublicEvent", 1),
    ("GollumEvent", 1),
];

const REPOSITORIES: u64 = 500;
const USERS: u64 = 2_000;
/// Pull requests that are open at the same time at most.
const OPEN_PULL_REQUESTS: usize = 1_000;

/// Which form payloads have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PayloadForm {
    /// As before October 2025: `merged`, sizes and language are there.
    Full,
    /// As since then: they are not, and a merge is the action `merged`.
    Trimmed,
}

/// An endless, deterministic sequence of events.
#[derive(Debug)]
pub struct Generator {
    random: fastrand::Rng,
    form: PayloadForm,
    next_id: u64,
    next_pull_request: u64,
    open: VecDeque<PullRequest>,
}

#[derive(Debug, Clone)]
struct PullRequest {
    id: u64,
    number: u64,
    repository: u64,
    additions: u64,
    deletions: u64,
}

impl Generator {
    /// The same seed and first id give the same events.
    pub fn new(seed: u64, first_id: u64, form: PayloadForm) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        // Pull requests of different runs are different ones, as far as first ids are.
        Self { random, form, next_id: first_id, next_pull_request: first_id, open: VecDeque::new() }
    }

    /// The next event, as it happens at `created_at` (Unix seconds).
    pub fn event(&mut self, created_at: i64) -> Value {
        let kind = self.pick(&TYPES);
        let user = self.skewed(USERS);
        let (payload, repository) = match kind {
            "PullRequestEvent" => self.pull_request(),
            kind => {
                let repository = self.skewed(REPOSITORIES);
                (self.payload(kind, repository), repository)
            }
        };
        self.next_id += 1;
        json!({
            "id": self.next_id.to_string(),
            "type": kind,
            "actor": {
                "id": 900_000_000 + user,
                "login": format!("sample-user{user}"),
                "display_login": format!("sample-user{user}"),
                "gravatar_id": "",
                "url": format!("https://api.github.com/users/sample-user{user}"),
                "avatar_url": format!("https://avatars.githubusercontent.com/u/{}?", 900_000_000 + user),
            },
            "repo": repository_json(repository),
            "payload": payload,
            "public": true,
            "created_at": Timestamp::from_second(created_at).unwrap_or_default().to_string(),
        })
    }

    /// Opens a pull request, or ends one that is open.
    fn pull_request(&mut self) -> (Value, u64) {
        let end =
            self.open.len() >= OPEN_PULL_REQUESTS || !self.open.is_empty() && self.random.u32(0..100) < 48;
        let (mut pull_request, action, merged) = if end {
            let index = self.random.usize(0..self.open.len());
            let pull_request = self.open.swap_remove_back(index);
            let merged = self.random.u32(0..100) < 72;
            let trimmed = self.form == PayloadForm::Trimmed;
            (pull_request, if merged && trimmed { "merged" } else { "closed" }, merged)
        } else {
            (None, "opened", false)
        };
        let pull_request = pull_request.take().unwrap_or_else(|| self.open_pull_request());
        let repository = pull_request.repository;
        (
            json!({ "action": action, "number": pull_request.number, "pull_request": self.body(&pull_request, merged) }),
            repository,
        )
    }

    fn open_pull_request(&mut self) -> PullRequest {
        self.next_pull_request += 1;
        let size = 1 << self.random.u32(1..11);
        let pull_request = PullRequest {
            id: self.next_pull_request,
            number: self.random.u64(1..5_000),
            repository: self.skewed(REPOSITORIES),
            additions: self.random.u64(0..size * 2),
            deletions: self.random.u64(0..size),
        };
        self.open.push_back(pull_request.clone());
        pull_request
    }

    fn body(&mut self, pull_request: &PullRequest, merged: bool) -> Value {
        let PullRequest { id, number, repository, additions, deletions } = *pull_request;
        let (base, head) = (self.sha(), self.sha());
        let url = format!("https://api.github.com/repos/sample-org/repo{repository}/pulls/{number}");
        let mut body = json!({
            "url": url,
            "id": id,
            "number": number,
            "head": { "ref": "topic", "sha": head, "repo": repository_json(repository) },
            "base": { "ref": "main", "sha": base, "repo": repository_json(repository) },
        });
        if self.form == PayloadForm::Full {
            body["title"] = json!(format!("Change {number} of sample repository {repository}"));
            body["state"] = json!(if merged { "closed" } else { "open" });
            body["merged"] = json!(merged);
            body["additions"] = json!(additions);
            body["deletions"] = json!(deletions);
            body["changed_files"] = json!(1 + additions / 40);
            body["base"]["repo"]["language"] = json!(language(repository));
        }
        body
    }

    fn payload(&mut self, kind: &str, repository: u64) -> Value {
        match kind {
            "PushEvent" => json!({
                "repository_id": 800_000_000 + repository,
                "push_id": self.next_id,
                "ref": "refs/heads/main",
                "head": self.sha(),
                "before": self.sha(),
            }),
            "CreateEvent" => json!({ "ref": "topic", "ref_type": "branch", "master_branch": "main" }),
            "DeleteEvent" => json!({ "ref": "topic", "ref_type": "branch", "pusher_type": "user" }),
            "WatchEvent" => json!({ "action": "started" }),
            "IssuesEvent" | "IssueCommentEvent" => {
                let action = if kind == "IssuesEvent" { "opened" } else { "created" };
                let number = self.random.u64(1..5_000);
                json!({ "action": action, "issue": { "id": self.next_id, "number": number, "title": "A sample" } })
            }
            "ForkEvent" => json!({ "forkee": repository_json(repository) }),
            "PullRequestReviewEvent" => json!({ "action": "created", "review": { "id": self.next_id } }),
            "ReleaseEvent" => {
                json!({ "action": "published", "release": { "id": self.next_id, "tag_name": "v1" } })
            }
            _ => json!({}),
        }
    }

    fn pick(&mut self, weights: &[(&'static str, u32)]) -> &'static str {
        let total = weights.iter().map(|(_, weight)| weight).sum();
        let mut left = self.random.u32(0..total);
        for (name, weight) in weights {
            if left < *weight {
                return name;
            }
            left -= weight;
        }
        weights[0].0
    }

    /// A number from 1 to `count`, small ones far more often: a few repositories and people cause most events.
    fn skewed(&mut self, count: u64) -> u64 {
        let uniform = self.random.f64();
        1 + ((count as f64 * uniform * uniform * uniform) as u64).min(count - 1)
    }

    fn sha(&mut self) -> String {
        format!("{:016x}{:016x}{:08x}", self.random.u64(..), self.random.u64(..), self.random.u32(..))
    }
}

fn repository_json(repository: u64) -> Value {
    json!({
        "id": 800_000_000 + repository,
        "name": format!("sample-org/repo{repository}"),
        "url": format!("https://api.github.com/repos/sample-org/repo{repository}"),
    })
}

/// A repository's language never changes.
fn language(repository: u64) -> &'static str {
    let total: u32 = LANGUAGES.iter().map(|(_, weight)| weight).sum();
    let mut left = (repository.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) as u32 % total;
    for (name, weight) in LANGUAGES {
        if left < weight {
            return name;
        }
        left -= weight;
    }
    LANGUAGES[0].0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::github::project::{Projection, project};
    use crate::event::Event;

    #[test]
    fn the_same_seed_gives_the_same_events_and_another_seed_others() {
        let events = |seed| {
            let mut generator = Generator::new(seed, 1, PayloadForm::Full);
            (0..50).map(|second| generator.event(second).to_string()).collect::<Vec<_>>()
        };
        assert_eq!(events(1), events(1));
        assert_ne!(events(1), events(2));
    }

    #[test]
    fn every_event_projects_and_both_forms_have_merges() {
        for form in [PayloadForm::Full, PayloadForm::Trimmed] {
            let mut generator = Generator::new(7, 1, form);
            let mut merged = 0;
            for second in 0..2_000 {
                let raw = generator.event(second).to_string();
                if let Projection::Counts(mutation, _) = project(&Event::parse(&raw).unwrap()).unwrap() {
                    merged += u32::from(mutation.outcome == crate::mutation::Outcome::Merged);
                    assert_eq!(mutation.language.is_some(), form == PayloadForm::Full);
                }
            }
            assert!(merged > 50, "{merged}");
        }
    }
}
