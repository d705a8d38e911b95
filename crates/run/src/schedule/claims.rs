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

/// Writes the claim of a job.
pub(super) async fn put(objects: &dyn ObjectStore, job: &JobName, claim: &Claim) -> object_store::Result<()> {
    let text = serde_json::json!(claim).to_string();
    objects.put(&path(job), PutPayload::from(text)).await.map(|_| ())
}

/// Takes the claim of a job away; one that is not there is none either.
pub(super) async fn remove(objects: &dyn ObjectStore, job: &JobName) -> object_store::Result<()> {
    match objects.delete(&path(job)).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Reads all claims. One that is damaged says nothing that could be acted on; it is told and left out, and replaced by
/// the job's next.
pub(super) async fn all(objects: &dyn ObjectStore) -> object_store::Result<Vec<(JobName, Claim)>> {
    let listed = match objects.list(Some(&Path::from(FOLDER))).try_collect::<Vec<_>>().await {
        Err(object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
        listed => listed?,
    };
    let mut claims = Vec::new();
    for object in listed {
        let name = object.location.filename().and_then(|name| name.strip_suffix(".json"));
        let Some(job) = name.and_then(JobName::from_text) else { continue };
        let bytes = match objects.get(&object.location).await {
            Ok(found) => found.bytes().await?,
            Err(object_store::Error::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        match serde_json::from_slice(&bytes) {
            Ok(claim) => claims.push((job, claim)),
            Err(error) => tracing::warn!(%job, %error, "claim of a run is damaged and left out"),
        }
    }
    Ok(claims)
}

fn path(job: &JobName) -> Path {
    Path::from(format!("{FOLDER}/{job}.json"))
}
