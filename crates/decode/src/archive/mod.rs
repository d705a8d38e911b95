//! Zip and tar as streams of members: nothing is ever unpacked to a path. Names that point out of the archive, members
//! that are no regular files where one was asked for, and archives beyond the limits are refused.

pub(crate) mod local;
pub(crate) mod tar;
pub(crate) mod zip;

use globset::{GlobBuilder, GlobMatcher};
use hambar_core::limits::{ARCHIVE_MEMBERS_MAX, ARCHIVE_PATH_BYTES_MAX};

use crate::error::DecodeError;
use crate::spec::Archive;

/// Names of members that a message lists.
const NAMES_SHOWN: usize = 10;

/// Returns the archive that the first bytes tell.
pub(crate) fn sniff(head: &[u8]) -> Option<Archive> {
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Some(Archive::Zip);
    }
    (head.get(257..262) == Some(b"ustar")).then_some(Archive::Tar)
}

/// Which members are read.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    /// Those that match.
    Glob(GlobMatcher),
    /// The only one there is.
    Only,
}

impl Wanted {
    /// Compiles `format.members`. `*` does not cross a `/`, `**` does.
    pub(crate) fn new(members: Option<&str>) -> Result<Self, DecodeError> {
        let Some(pattern) = members else {
            return Ok(Self::Only);
        };
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        let wrong = |error: globset::Error| DecodeError::Setting { setting: "format.members", what: error.to_string() };
        Ok(Self::Glob(glob.map_err(wrong)?.compile_matcher()))
    }

    /// Is this member to be read? Without a pattern, the litter that macOS leaves in archives is not.
    pub(crate) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Glob(glob) => glob.is_match(name),
            Self::Only => !name.starts_with("__MACOSX/") && !name.ends_with(".DS_Store"),
        }
    }

    /// Checks how many members were found: one without a pattern, at least one with it.
    pub(crate) fn check_found(&self, found: &[&str], all: &[&str]) -> Result<(), DecodeError> {
        let what = match self {
            Self::Only if found.len() == 1 => return Ok(()),
            Self::Glob(_) if !found.is_empty() => return Ok(()),
            Self::Only if found.is_empty() => "the archive has no member".to_owned(),
            Self::Only => format!("the archive has {} members, name those to read: {}", found.len(), shown(found)),
            Self::Glob(glob) => format!("`{}` matches none of {}", glob.glob(), shown(all)),
        };
        Err(DecodeError::Setting { setting: "format.members", what })
    }
}

fn shown(names: &[&str]) -> String {
    let more = if names.len() > NAMES_SHOWN { ", …" } else { "" };
    let first: Vec<&str> = names.iter().copied().take(NAMES_SHOWN).collect();
    format!("`{}`{more}", first.join("`, `"))
}

/// Refuses a member's name that is too long or points somewhere else.
pub(crate) fn check_name(name: &str, format: &'static str, index: usize) -> Result<(), DecodeError> {
    if name.len() > ARCHIVE_PATH_BYTES_MAX {
        return Err(DecodeError::Limit {
            file: name.chars().take(100).collect(),
            limit: "archive path",
            value: ARCHIVE_PATH_BYTES_MAX as u64,
            unit: "bytes",
            place: format!("member {}", index + 1),
        });
    }
    let drive = name.as_bytes().get(1) == Some(&b':') && name.as_bytes()[0].is_ascii_alphabetic();
    let climbs = name.split(['/', '\\']).any(|part| part == "..");
    if name.is_empty() || drive || climbs || name.starts_with(['/', '\\']) || name.contains('\0') {
        return Err(refused(format, index, format!("the name `{}` points out of the archive", name.escape_default())));
    }
    Ok(())
}

/// Refuses an archive with too many members.
pub(crate) fn check_count(count: usize) -> Result<(), DecodeError> {
    if count <= ARCHIVE_MEMBERS_MAX {
        return Ok(());
    }
    Err(DecodeError::Limit {
        file: "body".to_owned(),
        limit: "archive members",
        value: ARCHIVE_MEMBERS_MAX as u64,
        unit: "members",
        place: format!("member {count}"),
    })
}

/// An archive that is not what it should be, at a member counted from 0.
pub(crate) fn refused(format: &'static str, index: usize, what: impl Into<String>) -> DecodeError {
    DecodeError::Format { file: "body".to_owned(), format, place: format!("member {}", index + 1), what: what.into() }
}
