//! What a replay reads: names on the command line, resolved to files and hours.

use std::path::{Path, PathBuf};

use jiff::civil::Date;

/// One archive to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A file on this machine.
    File(PathBuf),
    /// An hour of GH Archive, as the archive names it: `2026-11-01-5`.
    Hour(String),
}

/// Why a source cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It is neither a file, nor a directory, nor an hour.
    #[error("{0} is neither a file, nor a directory, nor an hour such as 2026-11-01-15")]
    Unknown(String),
    /// It is an hour in which events had no ids.
    #[error("{0} is of before 2015, when events had no ids: they cannot be counted exactly")]
    OldForm(String),
    /// A directory has no archives.
    #[error("the directory {0} holds no .json, .jsonl, .json.gz or .jsonl.gz file")]
    Empty(PathBuf),
    /// A directory cannot be listed.
    #[error("cannot list {path}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl Input {
    /// Resolves names in their order; a directory stands for its archives in the order of their hours.
    ///
    /// # Errors
    /// When a name stands for nothing.
    pub fn resolve(names: &[String]) -> Result<Vec<Self>, InputError> {
        let mut inputs = Vec::new();
        for name in names {
            let path = Path::new(name);
            if path.is_dir() {
                inputs.extend(archives(path)?.into_iter().map(Self::File));
            } else if path.exists() {
                inputs.push(Self::File(path.to_owned()));
            } else {
                let (date, hour) = hour(name).ok_or_else(|| InputError::Unknown(name.clone()))?;
                if date.year() < 2015 {
                    return Err(InputError::OldForm(name.clone()));
                }
                inputs.push(Self::Hour(format!("{date}-{hour}")));
            }
        }
        Ok(inputs)
    }

    /// Its size in bytes, where that is known beforehand.
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::File(path) => path.metadata().ok().map(|metadata| metadata.len()),
            Self::Hour(_) => None,
        }
    }
}

impl std::fmt::Display for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().fmt(f),
            Self::Hour(hour) => hour.fmt(f),
        }
    }
}

fn archives(directory: &Path) -> Result<Vec<PathBuf>, InputError> {
    let error = |source| InputError::Directory { path: directory.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(error)? {
        let path = entry.map_err(error)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_archive = [".json", ".jsonl", ".json.gz", ".jsonl.gz"].iter().any(|end| name.ends_with(end));
        // Beside the archives that pulsehub writes lie their manifests.
        if is_archive && !name.ends_with(".manifest.json") && path.is_file() {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(InputError::Empty(directory.to_owned()));
    }
    // GH Archive does not pad hours: 2016-01-01-10 comes after 2016-01-01-9.
    paths.sort_by_key(|path| natural_key(&path.to_string_lossy()));
    Ok(paths)
}

/// Splits a name so that numbers in it compare by value.
fn natural_key(name: &str) -> Vec<(String, u64)> {
    let mut key = vec![(String::new(), 0_u64)];
    let mut digits = false;
    for character in name.chars() {
        let last = key.len() - 1;
        match character.to_digit(10) {
            Some(digit) => key[last].1 = key[last].1.saturating_mul(10).saturating_add(u64::from(digit)),
            None if digits => key.push((character.to_string(), 0)),
            None => key[last].0.push(character),
        }
        digits = character.is_ascii_digit();
    }
    key
}

/// Date and hour in a name that was written with or without a padded hour.
fn hour(name: &str) -> Option<(Date, u8)> {
    let (date, hour) = name.rsplit_once('-')?;
    let date: Date = date.parse().ok()?;
    let hour: u8 = hour.parse().ok().filter(|&hour| hour < 24)?;
    Some((date, hour))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_lose_their_padding_and_nonsense_is_refused() {
        let resolve = |name: &str| Input::resolve(&[name.to_owned()]);
        assert_eq!(resolve("2026-11-01-05").unwrap(), [Input::Hour("2026-11-01-5".to_owned())]);
        for nonsense in ["2026-11-01-24", "2026-13-01-1", "no-such-file.json.gz", ""] {
            assert!(resolve(nonsense).unwrap_err().to_string().contains("2026-11-01-15"), "{nonsense}");
        }
    }

    #[test]
    fn hours_of_before_2015_are_refused_by_name() {
        let refused = |name: &str| Input::resolve(&[name.to_owned()]).unwrap_err().to_string();
        for name in ["2012-06-14-15", "2014-12-31-23", "2011-02-12-00"] {
            assert!(refused(name).starts_with(&format!("{name} is of before 2015")), "{name}");
        }
        assert!(Input::resolve(&["2015-01-01-0".to_owned()]).is_ok());
    }

    #[test]
    fn a_directory_is_read_in_the_order_of_its_hours() {
        let directory = tempfile::tempdir().unwrap();
        for name in [
            "2016-01-01-10.json.gz",
            "2016-01-01-9.json.gz",
            "2016-01-01-9.manifest.json",
            "2016-01-01-11.json.gz.open",
            "2015-12-31-23.json",
            "notes.txt",
        ] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let names = [directory.path().to_string_lossy().into_owned()];
        let inputs: Vec<_> = Input::resolve(&names).unwrap().iter().map(Input::to_string).collect();
        assert_eq!(inputs, ["2015-12-31-23.json", "2016-01-01-9.json.gz", "2016-01-01-10.json.gz"]);
    }
}
