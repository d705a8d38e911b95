//! Which raw bytes are still needed, and by what: replay, rebuild, citations. Decides only; removing is the caller's part.
//!
//! Bodies are shared: two pipelines that received the same bytes have one body. It may go when every pipeline that brought it
//! lets it go.

use std::collections::{BTreeMap, HashMap};

use futures::TryStreamExt;
use hambar_core::{RunId, TableName};
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;

use crate::archive::{LocalFile, RunArchive};
use crate::manifest::{Header, Line, manifest_key, read_header, read_manifest};
use crate::run::RunError;
use crate::spec::Retention;

/// The days of a retention are at least this many: readers may hold what it removes this long.
pub const RETENTION_DAYS_MIN: u32 = 7;

/// SHA-256 of a raw body.
pub type BodyHash = [u8; 32];

/// What is known of the commits of one table.
#[derive(Debug, Clone)]
pub struct TableCommits {
    /// The table.
    pub table: TableName,
    /// Number of its newest commit by a run.
    pub sequence: u64,
    /// The run that made it.
    pub run: Option<RunId>,
    /// Numbers of the commits whose rows citations pin.
    pub cited: Vec<u64>,
    /// What its pipeline declares; `None` where there is no pipeline file, and then everything is kept.
    pub retention: Option<Retention>,
}

/// Why a body stays, however old it is; the strongest reason of all that have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// No pipeline says how long its bytes are kept, or nobody is known to have fetched it.
    Undeclared,
    /// `hambar rebuild` reads it, and the pipeline does not say that it may break.
    Rebuild,
    /// Rows of a cited version were made from it.
    Citation,
    /// `hambar replay` and the next run read it.
    Replay,
}

impl Need {
    /// The reason, for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Undeclared => "no `retention.raw_days` is declared for it",
            Self::Rebuild => "`hambar rebuild` needs it; `retention.may_break_rebuild = true` would let it go",
            Self::Citation => "a cited version was made from it",
            Self::Replay => "the newest release was made from it",
        }
    }
}

/// What may become of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It stays.
    Needed(Need),
    /// It stays for so many days after it arrived.
    Days(u32),
}

impl Claim {
    fn of_pipeline(retention: Option<&Retention>) -> Self {
        retention.and_then(|retention| retention.raw_days).map_or(Self::Needed(Need::Undeclared), Self::Days)
    }

    /// What holds for a body that two have a claim to.
    fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Needed(left), Self::Needed(right)) => Self::Needed(left.max(right)),
            (Self::Needed(need), Self::Days(_)) | (Self::Days(_), Self::Needed(need)) => Self::Needed(need),
            (Self::Days(left), Self::Days(right)) => Self::Days(left.max(right)),
        }
    }
}

/// The claims to all bodies that manifests name.
#[derive(Debug, Default)]
pub struct Claims {
    bodies: HashMap<BodyHash, Claim>,
}

impl Claims {
    /// Reads the manifests of all runs in the landing zone of `objects`.
    ///
    /// # Errors
    /// Where a manifest cannot be read, or the chain of a table's commits has a gap: then nobody knows what is needed.
    pub async fn collect(
        objects: &dyn ObjectStore,
        archive: &dyn RunArchive,
        tables: &[TableCommits],
    ) -> Result<Self, RunError> {
        let mut claims = Self::default();
        let mut roles: BTreeMap<String, Claim> = BTreeMap::new();
        for commits in tables {
            roles.extend(chain_claims(archive, commits).await?);
        }
        let broken = |source: std::io::Error| RunError::Manifest { source };
        let known: BTreeMap<String, &TableCommits> =
            tables.iter().map(|commits| (commits.table.to_string(), commits)).collect();
        let root = ObjectPath::from("raw/runs");
        let listed: Vec<_> =
            objects.list(Some(&root)).try_collect().await.map_err(|error| broken(std::io::Error::other(error)))?;
        for object in listed {
            let Some(key) = object.location.as_ref().strip_prefix("raw/").filter(|key| key.ends_with(".jsonl")) else {
                continue;
            };
            let table = key.split('/').nth(1).unwrap_or_default();
            // A manifest outside the chain is that of a run that did not commit: nothing was made from it.
            let claim = roles
                .get(key)
                .copied()
                .unwrap_or_else(|| Claim::of_pipeline(known.get(table).and_then(|commits| commits.retention.as_ref())));
            let Some(file) = archive.get(key).await.map_err(|source| RunError::Archive { source })? else {
                continue;
            };
            claims.add(&file, claim).map_err(broken)?;
        }
        Ok(claims)
    }

    fn add(&mut self, manifest: &LocalFile, claim: Claim) -> std::io::Result<()> {
        for line in read_manifest(&manifest.path)? {
            if let Line::Page(page) = line?
                && let Some(hash) = body_hash(&page.sha256)
            {
                self.bodies.entry(hash).and_modify(|known| *known = known.join(claim)).or_insert(claim);
            }
        }
        Ok(())
    }

    /// The claim to a body; `None` where no manifest names it.
    pub fn of(&self, hash: &BodyHash) -> Option<Claim> {
        self.bodies.get(hash).copied()
    }
}

/// The claim to a body that no manifest names, by the pipelines that are known to have fetched it.
pub fn unnamed<'a>(retentions: impl IntoIterator<Item = Option<&'a Retention>>) -> Claim {
    retentions.into_iter().map(Claim::of_pipeline).reduce(Claim::join).unwrap_or(Claim::Needed(Need::Undeclared))
}

/// Reads a SHA-256 in hex.
pub fn body_hash(hex: &str) -> Option<BodyHash> {
    let mut hash = BodyHash::default();
    if hex.len() != 2 * hash.len() || !hex.is_ascii() {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// The claims of a table's commits, by the keys of their manifests.
async fn chain_claims(archive: &dyn RunArchive, commits: &TableCommits) -> Result<Vec<(String, Claim)>, RunError> {
    let chain = chain(archive, &commits.table, commits.sequence, commits.run.clone()).await?;
    let may_break = commits.retention.as_ref().is_some_and(|retention| retention.may_break_rebuild);
    let claims = chain.iter().enumerate().map(|(place, (header, _))| {
        let claim = if place == 0 {
            Claim::Needed(Need::Replay)
        } else if commits.cited.contains(&header.sequence) {
            Claim::Needed(Need::Citation)
        } else {
            match Claim::of_pipeline(commits.retention.as_ref()) {
                Claim::Days(_) if !may_break => Claim::Needed(Need::Rebuild),
                other => other,
            }
        };
        (manifest_key(&commits.table, header.sequence, &header.run), claim)
    });
    Ok(claims.collect())
}

/// The manifests of all commits of `table`, newest first.
pub(crate) async fn chain(
    archive: &dyn RunArchive,
    table: &TableName,
    newest: u64,
    run: Option<RunId>,
) -> Result<Vec<(Header, LocalFile)>, RunError> {
    let mut chain = Vec::new();
    let (mut sequence, mut next) = (newest, run);
    while let Some(run) = next {
        let key = manifest_key(table, sequence, &run);
        let manifest = archive.get(&key).await.map_err(|source| RunError::Archive { source })?;
        let manifest = manifest.ok_or_else(|| RunError::Gone {
            pipeline: table.to_string(),
            what: format!("the manifest of commit {sequence}, run {run}, is not kept"),
        })?;
        let header = read_header(&manifest.path).map_err(|source| RunError::Manifest { source })?;
        next = header.previous.clone();
        chain.push((header, manifest));
        sequence = sequence.saturating_sub(1);
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_claim_holds() {
        let (needed, days) = (Claim::Needed, Claim::Days);
        for (left, right, expected) in [
            (days(7), days(30), days(30)),
            (days(7), needed(Need::Undeclared), needed(Need::Undeclared)),
            (needed(Need::Replay), days(9), needed(Need::Replay)),
            (needed(Need::Rebuild), needed(Need::Citation), needed(Need::Citation)),
        ] {
            assert_eq!(left.join(right), expected);
            assert_eq!(right.join(left), expected);
        }
    }

    #[test]
    fn bytes_that_nobody_declared_are_kept() {
        let days = |days| Retention { raw_days: Some(days), ..Retention::default() };
        let silent = Retention::default();
        assert_eq!(unnamed([]), Claim::Needed(Need::Undeclared));
        assert_eq!(unnamed([Some(&days(30)), Some(&days(9))]), Claim::Days(30));
        assert_eq!(unnamed([Some(&days(30)), Some(&silent)]), Claim::Needed(Need::Undeclared));
        assert_eq!(unnamed([Some(&days(30)), None]), Claim::Needed(Need::Undeclared));
    }

    #[test]
    fn hashes_are_read_from_hex() {
        assert_eq!(body_hash(&"ab".repeat(32)), Some([0xab; 32]));
        for wrong in ["", "ab", &"xy".repeat(32), &"ä".repeat(32)] {
            assert_eq!(body_hash(wrong), None, "{wrong}");
        }
    }
}
