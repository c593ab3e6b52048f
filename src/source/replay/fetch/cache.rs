//! Bounds the fetched hours that are kept: those used least recently give way.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The file is used now.
pub fn touch(file: &Path) {
    // A file that cannot be touched gives way early, and is fetched again.
    let _ = File::options().append(true).open(file).and_then(|file| file.set_modified(SystemTime::now()));
}

/// Removes the files used least recently until at most `bytes` are left, partial ones among them.
///
/// # Errors
/// When the directory cannot be listed or a file not removed.
pub fn trim(directory: &Path, bytes: u64) -> io::Result<()> {
    let mut files = fetched(directory)?;
    files.sort_by_key(|(_, _, used)| std::cmp::Reverse(*used));
    let mut kept = 0_u64;
    for (path, length, _) in files {
        kept = kept.saturating_add(length);
        if kept > bytes {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// What was fetched: path, length, last use. Nothing else in the directory is touched.
fn fetched(directory: &Path) -> io::Result<Vec<(PathBuf, u64, SystemTime)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if [".json.gz", ".json.gz.part", ".json.gz.part.tag"].iter().any(|end| name.ends_with(end)) {
            let metadata = entry.metadata()?;
            files.push((entry.path(), metadata.len(), metadata.modified()?));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_least_recently_used_hours_give_way_and_other_files_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let names =
            ["2026-01-01-1.json.gz", "2026-01-01-2.json.gz", "2026-01-01-3.json.gz.part", "notes.txt"];
        for (age, name) in [400, 300, 200, 500].into_iter().zip(names) {
            std::fs::write(path(name), vec![0; 100]).unwrap();
            let used = SystemTime::now() - Duration::from_secs(age);
            File::options().append(true).open(path(name)).unwrap().set_modified(used).unwrap();
        }
        touch(&path(names[0]));
        let left = || names.map(|name| path(name).exists());
        trim(directory.path(), 300).unwrap();
        assert_eq!(left(), [true, true, true, true]);
        trim(directory.path(), 250).unwrap();
        assert_eq!(left(), [true, false, true, true], "the one used just now stays");
        trim(directory.path(), 0).unwrap();
        assert_eq!(left(), [false, false, false, true]);
    }
}
