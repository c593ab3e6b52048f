//! What was probably meant by a key or word that doesn't exist.

use super::shape::{Shape, join};

/// How alike two words must be (0 to 1) for one to be suggested for the other.
const ALIKE: f64 = 0.7;

/// What an unknown key was probably meant to be: a sibling like it, a key of that name elsewhere,
/// or one like it elsewhere.
pub(super) fn suggest(parent: &str, written: &str, siblings: &Shape) -> Option<String> {
    if let Shape::Section(keys) = siblings
        && let Some(key) = closest(written, keys.keys().map(String::as_str))
    {
        return Some(join(parent, &key));
    }
    let paths = Shape::root().paths();
    let name = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let named = |wanted: &str| -> Vec<&str> {
        let same = paths.iter().filter(|(path, _)| name(path).eq_ignore_ascii_case(wanted));
        // The ignored section is nothing to point at.
        same.map(|(path, _)| path.as_str()).filter(|path| !path.starts_with("risingwave.")).collect()
    };
    let mut places = named(written);
    if places.is_empty() {
        let names: Vec<String> = paths.iter().map(|(path, _)| name(path)).collect();
        places = named(&closest(written, names.iter().map(String::as_str))?);
    }
    (!places.is_empty()).then(|| places.join(" or "))
}

/// The word most like `written`, if any is like it at all.
pub(super) fn closest<'a>(written: &str, words: impl Iterator<Item = &'a str>) -> Option<String> {
    let written = written.to_lowercase();
    words
        .map(|word| (strsim::normalized_damerau_levenshtein(&written, &word.to_lowercase()), word))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word.to_owned())
}
