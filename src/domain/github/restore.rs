//! Puts back what GitHub removed from pull request events in October 2025, at the old JSON paths.

use serde_json::value::RawValue;

use super::details::Details;
use super::payload::PullRequest;
use crate::mutation::{Outcome, Size};

/// `event` with what its pull request lacks: `merged` by the event's own outcome, `additions`, `deletions` and the base
/// repository's `language` where `details` know them. Sizes that nobody knows are written as 0, and only for merged
/// events: front ends add those up without looking. Of an event without an outcome only the language is written.
///
/// What is written comes last in its object, because the last of two equal keys wins: what was sent may be there as
/// `null`, or not be a number.
///
/// `pull_request_text` is the part of `event` that `pull_request` was read from.
pub fn restore(
    event: &str,
    pull_request_text: &RawValue,
    pull_request: &PullRequest<'_>,
    outcome: Option<Outcome>,
    details: &Details,
) -> String {
    let mut additions = Vec::with_capacity(2);
    let mut fields = outcome.map_or_else(Vec::new, |outcome| sizes(pull_request, outcome, details));
    if let Some(language) = language(pull_request, details) {
        let field = format!(r#""language":{language}"#);
        match [pull_request.base_repo, pull_request.base].map(|object| end_inside(event, object?.get())) {
            [Some(end), _] => additions.push((end, vec![field])),
            [None, Some(end)] => additions.push((end, vec![format!(r#""repo":{{{field}}}"#)])),
            [None, None] => fields.push(format!(r#""base":{{"repo":{{{field}}}}}"#)),
        }
    }
    // The pull request's end lies behind those of its parts.
    additions.extend(end_inside(event, pull_request_text.get()).map(|end| (end, fields)));
    insert(event, &additions)
}

/// The fields that the pull request itself lacks.
fn sizes(pull_request: &PullRequest<'_>, outcome: Outcome, details: &Details) -> Vec<String> {
    let merged = outcome == Outcome::Merged;
    let merged_field = pull_request.merged.is_none().then(|| format!(r#""merged":{merged}"#));
    let unknown = merged.then_some(Size { additions: 0, deletions: 0 });
    let size = details.size.or(unknown);
    let size_field = |name, own: Option<u64>, learned: fn(Size) -> u64| match own {
        Some(_) => None,
        None => size.map(|size| format!(r#""{name}":{}"#, learned(size))),
    };
    let additions = size_field("additions", pull_request.additions, |size| size.additions);
    let deletions = size_field("deletions", pull_request.deletions, |size| size.deletions);
    [merged_field, additions, deletions].into_iter().flatten().collect()
}

/// The language as JSON where the pull request lacks it; `null` where it is known that there is none.
fn language(pull_request: &PullRequest<'_>, details: &Details) -> Option<String> {
    match &details.language {
        // A string always serialises.
        Some(language) => {
            pull_request.language().is_none().then(|| serde_json::to_string(&**language).unwrap_or_default())
        }
        None => (details.size.is_some() && !pull_request.says_language).then(|| "null".to_owned()),
    }
}

/// `text` with members added to objects that end at these places, given in ascending order.
fn insert(text: &str, additions: &[(usize, Vec<String>)]) -> String {
    let (mut whole, mut from) = (String::with_capacity(text.len() + 128), 0);
    for (end, fields) in additions {
        whole.push_str(&text[from..*end]);
        from = *end;
        for field in fields {
            if !whole.trim_end().ends_with('{') {
                whole.push(',');
            }
            whole.push_str(field);
        }
    }
    whole.push_str(&text[from..]);
    whole
}

/// Where the last member of `object`, a part of `text`, ends in `text`.
fn end_inside(text: &str, object: &str) -> Option<usize> {
    let start = (object.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let same = text.get(start..start + object.len())? == object && object.ends_with('}');
    same.then_some(start + object.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::github::payload::PullRequestPayload;
    use crate::event::Event;

    fn restored(pull_request: &str, action: &str, details: &Details) -> String {
        let raw = format!(r#"{{"payload":{{"action":"{action}","pull_request":{pull_request}}},"id":"1"}}"#);
        let event = Event::parse(&raw).unwrap();
        let payload = PullRequestPayload::parse(event.payload);
        let outcome = payload.outcome(&payload.pull_request());
        let text = payload.pull_request.unwrap();
        let whole = restore(&raw, text, &payload.pull_request(), outcome, details);
        serde_json::from_str::<serde_json::Value>(&whole).unwrap();
        let prefix = format!(r#"{{"payload":{{"action":"{action}","pull_request":"#);
        whole.strip_prefix(&prefix).unwrap().strip_suffix(r#"},"id":"1"}"#).unwrap().to_owned()
    }

    fn known(language: Option<&str>) -> Details {
        Details { size: Some(Size { additions: 7, deletions: 8 }), language: language.map(Into::into) }
    }

    #[test]
    fn without_details_the_trimmed_form_gets_what_its_outcome_says_and_the_full_form_stays() {
        let restored = |pull_request, action| restored(pull_request, action, &Details::default());
        assert_eq!(
            restored(r#"{"id":5}"#, "merged"),
            r#"{"id":5,"merged":true,"additions":0,"deletions":0}"#
        );
        assert_eq!(restored(r#"{"id":5}"#, "opened"), r#"{"id":5,"merged":false}"#);
        let full = r#"{"id":5,"merged":true,"additions":7,"deletions":8}"#;
        assert_eq!(restored(full, "closed"), full);
        assert_eq!(restored(r#"{"id":5}"#, "labeled"), r#"{"id":5}"#);
    }

    #[test]
    fn details_stand_at_the_old_paths_whatever_is_there_of_them() {
        let trimmed = r#"{"id":5,"base":{"ref":"main","repo":{"id":3}}}"#;
        assert_eq!(
            restored(trimmed, "opened", &known(Some("C#"))),
            r#"{"id":5,"base":{"ref":"main","repo":{"id":3,"language":"C#"}},"merged":false,"additions":7,"deletions":8}"#
        );
        let rest = r#","merged":true,"additions":7,"deletions":8}"#;
        let merged = |pull_request| restored(pull_request, "merged", &known(Some("C")));
        assert_eq!(
            merged(r#"{"id":5,"base":{"repo":{ }}}"#),
            format!(r#"{{"id":5,"base":{{"repo":{{ "language":"C"}}}}{rest}"#)
        );
        assert_eq!(
            merged(r#"{"id":5,"base":{"repo":null}}"#),
            format!(r#"{{"id":5,"base":{{"repo":null,"repo":{{"language":"C"}}}}{rest}"#)
        );
        assert_eq!(
            merged(r#"{"id":5}"#),
            r#"{"id":5,"merged":true,"additions":7,"deletions":8,"base":{"repo":{"language":"C"}}}"#
        );
    }

    #[test]
    fn what_the_event_says_stays_and_a_language_that_there_is_not_is_null() {
        let own = r#"{"id":5,"merged":false,"additions":1,"deletions":2,"base":{"repo":{"language":"Go"}}}"#;
        assert_eq!(restored(own, "closed", &known(Some("C"))), own);
        assert_eq!(
            restored(r#"{"id":5,"merged":false,"base":{"repo":{"id":3}}}"#, "closed", &known(None)),
            r#"{"id":5,"merged":false,"base":{"repo":{"id":3,"language":null}},"additions":7,"deletions":8}"#
        );
        let labeled = r#"{"id":5,"base":{"repo":{"id":3}}}"#;
        let cached = Details { size: None, language: Some("C".into()) };
        assert_eq!(
            restored(labeled, "labeled", &cached),
            r#"{"id":5,"base":{"repo":{"id":3,"language":"C"}}}"#
        );
    }
}
