//! Prepared statements: a text and the values that were bound to it, under a handle. They live in this process, are
//! bounded for each member and in all, and end when nobody has used them for a while.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hambar_query::Parameters;
use tokio::time::Instant;
use tonic::Status;
use uuid::Uuid;

/// Prepared statements of one member.
const PER_MEMBER_MAX: usize = 100;
/// Bytes of texts and values of one member.
const BYTES_PER_MEMBER_MAX: usize = 16 * 1024 * 1024;
/// Bytes of texts and values of all members.
const BYTES_MAX: usize = 256 * 1024 * 1024;
/// A statement that nobody has used for so long ends.
const IDLE_TIME_MAX: Duration = Duration::from_secs(30 * 60);
/// Bytes that a statement takes besides its text and values.
const OVERHEAD_BYTES: usize = 1024;

/// The statements of one server.
#[derive(Debug, Default)]
pub(super) struct Statements {
    open: Mutex<HashMap<Uuid, Statement>>,
}

#[derive(Debug)]
struct Statement {
    member: String,
    sql: String,
    parameters: Parameters,
    bytes: usize,
    used_at: Instant,
}

impl Statements {
    /// Keeps a statement of `member`; returns its handle.
    pub(super) fn open(&self, member: &str, sql: String, now: Instant) -> Result<Vec<u8>, Status> {
        let mut open = self.lock();
        open.retain(|_, statement| now.saturating_duration_since(statement.used_at) < IDLE_TIME_MAX);
        let count = open.values().filter(|statement| statement.member == member).count();
        if count >= PER_MEMBER_MAX {
            return Err(Status::resource_exhausted(format!(
                "{count} of your prepared statements are open; at most {PER_MEMBER_MAX} may be\nhint: close some of them"
            )));
        }
        let bytes = sql.len() + OVERHEAD_BYTES;
        has_room(&open, member, bytes)?;
        let handle = Uuid::new_v4();
        let statement =
            Statement { member: member.to_owned(), sql, parameters: Parameters::none(), bytes, used_at: now };
        open.insert(handle, statement);
        Ok(handle.as_bytes().to_vec())
    }

    /// Binds values to a statement of `member`, in place of those that were bound before.
    pub(super) fn bind(&self, member: &str, handle: &[u8], parameters: Parameters, now: Instant) -> Result<(), Status> {
        let sizes = parameters.values().iter().map(|value| value.to_data().get_slice_memory_size().unwrap_or(0));
        let values = sizes.sum::<usize>();
        let mut open = self.lock();
        let statement = found(&mut open, member, handle, now)?;
        let (before, bytes) = (statement.bytes, statement.sql.len() + OVERHEAD_BYTES + values);
        has_room(&open, member, bytes.saturating_sub(before))?;
        let statement = found(&mut open, member, handle, now)?;
        statement.parameters = parameters;
        statement.bytes = bytes;
        Ok(())
    }

    /// Returns a statement of `member` with its values.
    pub(super) fn get(&self, member: &str, handle: &[u8], now: Instant) -> Result<(String, Parameters), Status> {
        let mut open = self.lock();
        let statement = found(&mut open, member, handle, now)?;
        Ok((statement.sql.clone(), statement.parameters.clone()))
    }

    /// Forgets a statement of `member`.
    pub(super) fn close(&self, member: &str, handle: &[u8], now: Instant) -> Result<(), Status> {
        let mut open = self.lock();
        found(&mut open, member, handle, now)?;
        if let Some(id) = id(handle) {
            open.remove(&id);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Statement>> {
        // Every change is whole before anything could panic.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn id(handle: &[u8]) -> Option<Uuid> {
    Uuid::from_slice(handle).ok()
}

/// Returns the statement of `member` under `handle`. One of somebody else does not exist for him.
fn found<'a>(
    open: &'a mut HashMap<Uuid, Statement>,
    member: &str,
    handle: &[u8],
    now: Instant,
) -> Result<&'a mut Statement, Status> {
    let statement = id(handle).and_then(|id| open.get_mut(&id)).filter(|statement| {
        statement.member == member && now.saturating_duration_since(statement.used_at) < IDLE_TIME_MAX
    });
    let Some(statement) = statement else {
        return Err(Status::not_found(
            "there is no such prepared statement: it was closed, unused for half an hour, or prepared elsewhere\n\
             hint: prepare it again",
        ));
    };
    statement.used_at = now;
    Ok(statement)
}

fn has_room(open: &HashMap<Uuid, Statement>, member: &str, bytes: usize) -> Result<(), Status> {
    let own: usize = open.values().filter(|one| one.member == member).map(|one| one.bytes).sum();
    let all: usize = open.values().map(|one| one.bytes).sum();
    if own + bytes > BYTES_PER_MEMBER_MAX {
        return Err(Status::resource_exhausted(format!(
            "your prepared statements and their values would take {} bytes; at most {BYTES_PER_MEMBER_MAX} are kept\n\
             hint: close some of them",
            own + bytes
        )));
    }
    if all + bytes > BYTES_MAX {
        return Err(Status::resource_exhausted(format!(
            "all prepared statements would take more than {BYTES_MAX} bytes\nhint: ask again a little later"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, Int64Array, StringArray};
    use tonic::Code;

    use super::*;

    #[test]
    fn a_statement_is_its_members_own_and_ends_unused() {
        let statements = Statements::default();
        let now = Instant::now();
        let handle = statements.open("ana", "SELECT $1".to_owned(), now).unwrap();
        let value = Parameters::new(vec![Arc::new(Int64Array::from(vec![7]))]).unwrap();
        statements.bind("ana", &handle, value.clone(), now).unwrap();
        assert_eq!(statements.get("ana", &handle, now).unwrap(), ("SELECT $1".to_owned(), value.clone()));
        for (member, handle) in [("boris", handle.as_slice()), ("ana", b"x"), ("ana", &[0; 16])] {
            assert_eq!(statements.get(member, handle, now).unwrap_err().code(), Code::NotFound);
            assert_eq!(statements.bind(member, handle, value.clone(), now).unwrap_err().code(), Code::NotFound);
            assert_eq!(statements.close(member, handle, now).unwrap_err().code(), Code::NotFound);
        }
        let used = now + IDLE_TIME_MAX - Duration::from_secs(1);
        statements.get("ana", &handle, used).unwrap();
        let ended = used + IDLE_TIME_MAX;
        assert_eq!(statements.get("ana", &handle, ended).unwrap_err().code(), Code::NotFound);
        let other = statements.open("ana", "SELECT 1".to_owned(), ended).unwrap();
        assert_eq!(statements.lock().len(), 1);
        statements.close("ana", &other, ended).unwrap();
        assert!(statements.lock().is_empty());
    }

    #[test]
    fn a_member_takes_bounded_room() {
        let statements = Statements::default();
        let now = Instant::now();
        let open = |member: &str| statements.open(member, "SELECT $1".to_owned(), now);
        let handles: Vec<_> = (0..PER_MEMBER_MAX).map(|_| open("ana").unwrap()).collect();
        assert_eq!(open("ana").unwrap_err().code(), Code::ResourceExhausted);
        open("boris").unwrap();
        let text = "x".repeat(1024 * 1024);
        let large: Arc<dyn Array> = Arc::new(StringArray::from(vec![text.as_str()]));
        let bind =
            |handle: &Vec<u8>| statements.bind("ana", handle, Parameters::new(vec![Arc::clone(&large)]).unwrap(), now);
        let bound = handles.iter().take_while(|handle| bind(handle).is_ok()).count();
        assert!((10..16).contains(&bound), "{bound}");
        // Other values in place of the same take no more room.
        bind(&handles[0]).unwrap();
        assert_eq!(bind(&handles[bound]).unwrap_err().code(), Code::ResourceExhausted);
    }
}
