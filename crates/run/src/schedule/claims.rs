//! Claims: an object per run that was started and whose end is not recorded yet. Whoever leads next finds in them what
//! the one before had under way.

use futures::TryStreamExt;
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};

use super::job::JobName;

/// Where they are.
const FOLDER: &str = "schedule/running";

/// A run that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    /// The run.
    pub(super) run: String,
    /// When it was about to be started.
    pub(super) claimed_at: Timestamp,
    /// Where.
    pub(super) host: String,
    /// By which process.
    pub(super) pid: u32,
}

/// Writes the claim of a run.
pub(super) async fn put(objects: &dyn ObjectStore, job: &JobName, claim: &Claim) -> object_store::Result<()> {
    let text = serde_json::json!(claim).to_string();
    objects.put(&path(job, &claim.run), PutPayload::from(text)).await.map(|_| ())
}

/// Takes the claim of a run away; one that is not there is none either. That of another run of the same job stays:
/// a scheduler that was suspended may come back to claims of its successor.
pub(super) async fn remove(objects: &dyn ObjectStore, job: &JobName, run: &str) -> object_store::Result<()> {
    match objects.delete(&path(job, run)).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Reads all claims. One that is damaged says nothing that could be acted on; it is told and left out.
pub(super) async fn all(objects: &dyn ObjectStore) -> object_store::Result<Vec<(JobName, Claim)>> {
    let listed = match objects.list(Some(&Path::from(FOLDER))).try_collect::<Vec<_>>().await {
        Err(object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
        listed => listed?,
    };
    let mut claims = Vec::new();
    for object in listed {
        let Some(job) = job_of(&object.location) else { continue };
        let bytes = match objects.get(&object.location).await {
            Ok(found) => found.bytes().await?,
            Err(object_store::Error::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        match serde_json::from_slice(&bytes) {
            Ok(claim) => claims.push((job, claim)),
            Err(error) => {
                tracing::warn!(%job, place = %object.location, %error, "claim of a run is damaged and left out");
            }
        }
    }
    Ok(claims)
}

fn path(job: &JobName, run: &str) -> Path {
    Path::from(format!("{FOLDER}/{job}/{run}.json"))
}

/// The job in whose folder a claim lies.
fn job_of(place: &Path) -> Option<JobName> {
    let inside = place.as_ref().strip_prefix(FOLDER)?.strip_prefix('/')?;
    let (job, file) = inside.split_once('/')?;
    file.strip_suffix(".json").and_then(|_| JobName::from_text(job))
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    fn claim(run: &str) -> Claim {
        Claim { run: run.to_owned(), claimed_at: Timestamp::UNIX_EPOCH, host: "here".to_owned(), pid: 7 }
    }

    #[tokio::test]
    async fn a_claim_goes_alone_and_what_is_damaged_hides_nothing() {
        let objects = InMemory::new();
        assert_eq!(all(&objects).await.unwrap(), []);
        let one = JobName::from_text("a.one").unwrap();
        let vacuum = JobName::from_text("vacuum").unwrap();
        for (job, run) in [(&one, "r1"), (&one, "r2"), (&vacuum, "r3")] {
            put(&objects, job, &claim(run)).await.unwrap();
        }
        for stray in
            ["schedule/running/a.one/r4.json", "schedule/running/stray.json", "schedule/running/no name/r.json"]
        {
            objects.put(&Path::from(stray), PutPayload::from_static(b"{")).await.unwrap();
        }
        remove(&objects, &one, "r1").await.unwrap();
        remove(&objects, &one, "r1").await.unwrap();
        let mut left = all(&objects).await.unwrap();
        left.sort_by(|(_, a), (_, b)| a.run.cmp(&b.run));
        assert_eq!(left, [(one, claim("r2")), (vacuum, claim("r3"))]);
    }
}
