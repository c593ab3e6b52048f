//! Puts back what GitHub removed from pull request events in October 2025, at the old JSON paths.

use serde_json::value::RawValue;

use super::payload::PullRequest;
use crate::mutation::Outcome;

/// `event` with `merged`, `additions` and `deletions` where its pull request lacks them. Sizes that nobody knows
/// are written as 0, and only for merged events: front ends add those up without looking. They come last, because the
/// last of two equal keys wins: what was sent may be there as `null`, or not be a number.
///
/// `pull_request_text` is the part of `event` that `pull_request` was read from.
pub fn restore(
    event: &str,
    pull_request_text: &RawValue,
    pull_request: &PullRequest<'_>,
    outcome: Outcome,
) -> String {
    let merged = outcome == Outcome::Merged;
    let mut fields = String::new();
    if pull_request.merged.is_none() {
        fields += &format!(r#","merged":{merged}"#);
    }
    for (name, value) in [("additions", pull_request.additions), ("deletions", pull_request.deletions)] {
        if merged && value.is_none() {
            fields += &format!(r#","{name}":0"#);
        }
    }
    match end_inside(event, pull_request_text.get()) {
        Some(end) if !fields.is_empty() => format!("{}{fields}{}", &event[..end], &event[end..]),
        _ => event.to_owned(),
    }
}

/// Where the last member of `object`, a part of `text` that has members, ends in `text`.
fn end_inside(text: &str, object: &str) -> Option<usize> {
    let start = (object.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let same = text.get(start..start + object.len())? == object && object.ends_with('}');
    same.then_some(start + object.len() - 1)
}

#[cfg(test)]
mod tests {
    use crate::domain::github::payload::PullRequestPayload;
    use crate::event::Event;

    fn restored(pull_request: &str, action: &str) -> String {
        let raw = format!(r#"{{"payload":{{"action":"{action}","pull_request":{pull_request}}},"id":"1"}}"#);
        let event = Event::parse(&raw).unwrap();
        let payload = PullRequestPayload::parse(event.payload);
        let outcome = payload.outcome(&payload.pull_request()).unwrap();
        let whole = super::restore(&raw, payload.pull_request.unwrap(), &payload.pull_request(), outcome);
        let prefix = format!(r#"{{"payload":{{"action":"{action}","pull_request":"#);
        whole.strip_prefix(&prefix).unwrap().strip_suffix(r#"},"id":"1"}"#).unwrap().to_owned()
    }

    #[test]
    fn the_trimmed_form_gets_its_fields_back_and_the_full_form_stays() {
        assert_eq!(
            restored(r#"{"id":5}"#, "merged"),
            r#"{"id":5,"merged":true,"additions":0,"deletions":0}"#
        );
        assert_eq!(restored(r#"{"id":5}"#, "opened"), r#"{"id":5,"merged":false}"#);
        let full = r#"{"id":5,"merged":true,"additions":7,"deletions":8}"#;
        assert_eq!(restored(full, "closed"), full);
    }
}
