//! A database whose creation was cut short: there is nothing in it, and the database would refuse it for ever.

use std::io::ErrorKind;
use std::path::Path;

/// The last file that creating a database writes, and its length in bytes.
const LAST: (&str, u64) = ("version", 4);

/// Removes what is in `store` where the database was not created to its end. No table was made before, so that nothing
/// can have been written to it.
///
/// # Errors
/// What the system said.
pub fn remove(store: &Path) -> Result<(), std::io::Error> {
    let (name, length) = LAST;
    let finished = match std::fs::metadata(store.join(name)) {
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        found => found?.len() >= length,
    };
    if finished || !is_empty(&store.join("keyspaces"))? {
        return Ok(());
    }
    match std::fs::remove_dir_all(store) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => {
            removed.inspect(|()| tracing::warn!("the creation of the database was cut short: it begins anew"))
        }
    }
}

/// Whether a directory has nothing in it, or is not there.
fn is_empty(directory: &Path) -> Result<bool, std::io::Error> {
    match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        entries => Ok(entries?.next().is_none()),
    }
}
