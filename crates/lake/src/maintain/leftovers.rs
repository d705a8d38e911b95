//! Finds what is left in a local lake besides data files: staging files of writes that were never finished, which
//! listings leave out, scratch folders of writers that died, and empty folders of partitions. Object stores have none.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// Scratch folders of writers, below the lake's folder.
const SPOOL: &str = "spool";

/// One leftover.
#[derive(Debug)]
pub(super) struct Leftover {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Bytes, for a folder those of the files in it.
    pub(super) bytes: u64,
    is_folder: bool,
}

impl Leftover {
    /// Removes it.
    pub(super) fn remove(&self) -> io::Result<()> {
        if self.is_folder { std::fs::remove_dir_all(&self.path) } else { std::fs::remove_file(&self.path) }
    }
}

/// Finds the staging files in `folders` and the scratch folders of the lake at `root` that were last written to before
/// `cutoff`.
pub(super) fn find(root: &Path, folders: &[PathBuf], cutoff: Timestamp) -> io::Result<Vec<Leftover>> {
    let mut found = Vec::new();
    for folder in folders {
        for (path, name, metadata) in entries(folder)? {
            if metadata.is_file() && is_staging(&name) && is_older(&metadata, cutoff) {
                found.push(Leftover { path, bytes: metadata.len(), is_folder: false });
            }
        }
    }
    for (path, name, metadata) in entries(&root.join(SPOOL))? {
        if !metadata.is_dir() || !name.starts_with("write-") || !is_older(&metadata, cutoff) {
            continue;
        }
        let inside = entries(&path)?;
        if inside.iter().all(|(_, _, metadata)| is_older(metadata, cutoff)) {
            let bytes = inside.iter().map(|(_, _, metadata)| metadata.len()).sum();
            found.push(Leftover { path, bytes, is_folder: true });
        }
    }
    found.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(found)
}

/// Removes the folders below `table` that hold nothing any more, as those of partitions whose files all went; never the
/// table's own folder, nor its log. A folder that gets a file meanwhile stays.
pub(super) fn remove_empty(table: &Path) -> io::Result<()> {
    for (path, name, metadata) in entries(table)? {
        if !metadata.is_dir() || name.starts_with('_') {
            continue;
        }
        remove_empty(&path)?;
        match std::fs::remove_dir(&path) {
            Err(error) if !matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) => {
                return Err(error);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Says whether a name is that of a staging file: it ends with `#` and digits.
fn is_staging(name: &str) -> bool {
    let digits = name.rsplit_once('#').map_or("", |(_, digits)| digits);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_older(metadata: &std::fs::Metadata, cutoff: Timestamp) -> bool {
    let written = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
    written.is_some_and(|written| written < cutoff)
}

type Listed = (PathBuf, String, std::fs::Metadata);

fn entries(folder: &Path) -> io::Result<Vec<Listed>> {
    let listed = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry?;
        match entry.metadata() {
            Ok(metadata) => found.push((entry.path(), entry.file_name().to_string_lossy().into_owned(), metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staging_names_end_with_a_hash_and_digits() {
        for (name, expected) in [
            ("00000000000000000001.json#15", true),
            ("00000000000000000001.json", false),
            ("a#", false),
            ("#1", true),
            ("a#1b", false),
        ] {
            assert_eq!(is_staging(name), expected, "{name}");
        }
    }
}
