//! Which queries run for a ticket, so that whoever holds it can cancel them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::front::QueryId;

/// The queries that run now. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Running {
    queries: Arc<Mutex<HashMap<Uuid, Vec<QueryId>>>>,
}

impl Running {
    /// Notes that `query` runs for `ticket`, until the entry is dropped.
    pub(super) fn enter(&self, ticket: Uuid, query: QueryId) -> Entry {
        self.queries().entry(ticket).or_default().push(query);
        Entry { running: self.clone(), ticket, query }
    }

    /// Returns what runs for `ticket`: one query, or several where it was shown more than once.
    pub(super) fn of(&self, ticket: Uuid) -> Vec<QueryId> {
        self.queries().get(&ticket).cloned().unwrap_or_default()
    }

    fn queries(&self) -> MutexGuard<'_, HashMap<Uuid, Vec<QueryId>>> {
        // Every change is whole before anything could panic.
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A query that runs.
#[derive(Debug)]
pub(super) struct Entry {
    running: Running,
    ticket: Uuid,
    query: QueryId,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut queries = self.running.queries();
        if let Some(of_ticket) = queries.get_mut(&self.ticket) {
            of_ticket.retain(|query| *query != self.query);
            if of_ticket.is_empty() {
                queries.remove(&self.ticket);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_is_forgotten() {
        let running = Running::default();
        let (ticket, one, other) = (Uuid::new_v4(), QueryId::random(), QueryId::random());
        let first = running.enter(ticket, one);
        let second = running.enter(ticket, other);
        assert_eq!(running.of(ticket), [one, other]);
        drop(first);
        assert_eq!(running.of(ticket), [other]);
        drop(second);
        assert!(running.of(ticket).is_empty() && running.queries().is_empty());
    }
}
