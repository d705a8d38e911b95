//! What a folder looks like after a power cut: everything that was flushed is there, of the rest a random part.
//!
//! The code under test writes real files and says, through [`Amnesia::flushed`], which file or folder it flushed; a flushed
//! file keeps its bytes, a flushed folder keeps its entries. [`Amnesia::cut`] then makes up a disk that a cut at this very
//! moment could leave: each entry that was made, replaced or removed since its folder was flushed is there or not, each on
//! its own, and bytes that were not flushed are there, cut short, or zero. This is what POSIX allows; real file systems
//! lose less.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rand::Rng;

/// A file whatever its names are; inode numbers alone are used again.
type FileId = (u64, Option<SystemTime>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Folder,
    File(FileId),
}

/// Watches one folder.
#[derive(Debug)]
pub struct Amnesia {
    root: PathBuf,
    flushed: Mutex<Flushed>,
}

/// What is safe.
#[derive(Debug, Default)]
struct Flushed {
    bytes: HashMap<FileId, Arc<Vec<u8>>>,
    folders: HashMap<PathBuf, BTreeMap<OsString, Entry>>,
}

/// A disk after a power cut.
#[derive(Debug, Clone, Default)]
pub struct Crash {
    folders: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Arc<Vec<u8>>>,
}

impl Crash {
    /// Writes it below `target`, an empty folder.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn restore(&self, target: &Path) -> io::Result<()> {
        for folder in &self.folders {
            fs::create_dir_all(target.join(folder))?;
        }
        for (path, bytes) in &self.files {
            fs::write(target.join(path), bytes.as_slice())?;
        }
        Ok(())
    }
}

impl Amnesia {
    /// Watches the folder `root`; nothing in it is safe yet.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), flushed: Mutex::default() }
    }

    /// Takes note that `path`, a file or a folder, was flushed as it is now.
    pub fn flushed(&self, path: &Path) {
        let mut flushed = self.flushed.lock().unwrap_or_else(PoisonError::into_inner);
        if path.is_dir() {
            flushed.folders.insert(path.to_owned(), entries(path));
        } else if let (Some(id), Ok(bytes)) = (identity(path), fs::read(path)) {
            flushed.bytes.insert(id, Arc::new(bytes));
        }
    }

    /// Makes up a disk that a power cut would leave now.
    pub fn cut(&self, random: &mut impl Rng) -> Crash {
        let flushed = self.flushed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut crash = Crash::default();
        self.fall(&flushed, &self.root, random, &mut crash);
        crash
    }

    fn fall(&self, flushed: &Flushed, folder: &Path, random: &mut impl Rng, crash: &mut Crash) {
        let empty = BTreeMap::new();
        let (safe, now) = (flushed.folders.get(folder).unwrap_or(&empty), entries(folder));
        let names: BTreeSet<&OsString> = safe.keys().chain(now.keys()).collect();
        for name in names {
            let (old, new) = (safe.get(name), now.get(name));
            let Some(kept) = (if random.random_bool(0.5) { old } else { new }) else {
                continue;
            };
            let path = folder.join(name);
            let Ok(relative) = path.strip_prefix(&self.root).map(Path::to_owned) else {
                continue;
            };
            match kept {
                Entry::Folder => {
                    crash.folders.insert(relative);
                    self.fall(flushed, &path, random, crash);
                }
                Entry::File(id) => {
                    let written = (new == Some(kept)).then(|| fs::read(&path).ok()).flatten();
                    crash.files.insert(relative, remains(flushed.bytes.get(id), written, random));
                }
            }
        }
    }
}

/// What is left of a file with these flushed and these written bytes.
fn remains(safe: Option<&Arc<Vec<u8>>>, written: Option<Vec<u8>>, random: &mut impl Rng) -> Arc<Vec<u8>> {
    match (safe, written) {
        (Some(safe), None) => Arc::clone(safe),
        (Some(safe), Some(written)) if **safe == written || random.random_bool(0.5) => Arc::clone(safe),
        (Some(_), Some(written)) => Arc::new(written),
        (None, written) => {
            let mut bytes = written.unwrap_or_default();
            let place = random.random_range(0..=bytes.len());
            match random.random_range(0..4) {
                0 => bytes.clear(),
                1 => bytes.truncate(place),
                2 => bytes[place..].fill(0),
                _ => {}
            }
            Arc::new(bytes)
        }
    }
}

fn entries(folder: &Path) -> BTreeMap<OsString, Entry> {
    let Ok(listed) = fs::read_dir(folder) else {
        return BTreeMap::new();
    };
    let mut found = BTreeMap::new();
    for entry in listed.flatten() {
        // A file that vanishes meanwhile has no entry.
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            found.insert(entry.file_name(), Entry::Folder);
        } else if let Some(id) = identity(&entry.path()) {
            found.insert(entry.file_name(), Entry::File(id));
        }
    }
    found
}

fn identity(path: &Path) -> Option<FileId> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.created().ok()))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use tempfile::TempDir;

    use super::*;

    /// All disks that many cuts leave, as texts of the file `f`.
    fn left(folder: &Path, amnesia: &Amnesia) -> BTreeSet<Option<String>> {
        let mut random = StdRng::seed_from_u64(1);
        let shown = |crash: Crash| crash.files.get(Path::new("f")).map(|bytes| format!("{:?}", bytes.as_slice()));
        assert!(folder.is_dir());
        (0..200).map(|_| shown(amnesia.cut(&mut random))).collect()
    }

    #[test]
    fn only_what_was_flushed_is_safe() {
        let folder = TempDir::new().unwrap();
        let (root, file) = (folder.path(), folder.path().join("f"));
        let amnesia = Amnesia::new(root);
        fs::write(&file, "ab").unwrap();
        let all: BTreeSet<_> = ["[]", "[97]", "[97, 98]", "[0, 0]", "[97, 0]"].map(|text| Some(text.to_owned())).into();
        let with_none: BTreeSet<_> = all.iter().cloned().chain([None]).collect();
        assert_eq!(left(root, &amnesia), with_none);
        amnesia.flushed(root);
        assert_eq!(left(root, &amnesia), all, "the name is safe, the bytes are not");
        amnesia.flushed(&file);
        let whole: BTreeSet<_> = [Some("[97, 98]".to_owned())].into();
        assert_eq!(left(root, &amnesia), whole);
        fs::rename(&file, root.join("g")).unwrap();
        assert_eq!(left(root, &amnesia), whole.iter().cloned().chain([None]).collect());
        amnesia.flushed(root);
        assert_eq!(left(root, &amnesia), [None].into());
    }
}
