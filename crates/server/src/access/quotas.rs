//! How much the members of an organisation, or all people without a token, may use in a day. It is kept with the members
//! and changed like them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ANONYMOUS, AccessError, Members, MembersState};

/// What the members of an organisation, or all people without a token, may use in one day (UTC) together; what is not said
/// is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Queries that were admitted.
    pub queries: Option<u64>,
    /// Rows of their answers.
    pub rows: Option<u64>,
    /// Bytes of these rows, as Arrow holds them.
    pub bytes: Option<u64>,
}

/// What the members of an organisation, or all people without a token, have used in one day (UTC) together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Queries that were admitted.
    pub queries: u64,
    /// Rows of their answers.
    pub rows: u64,
    /// Bytes of these rows, as Arrow holds them.
    pub bytes: u64,
}

/// A part of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    /// [`Quota::queries`]
    Queries,
    /// [`Quota::rows`]
    Rows,
    /// [`Quota::bytes`]
    Bytes,
}

impl Measure {
    /// Returns its name in messages, commands and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queries => "queries",
            Self::Rows => "rows",
            Self::Bytes => "bytes",
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Quota {
    /// Says whether nothing is limited.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// Returns what is limited: the measure, the limit, and how much of it was used.
    pub fn limits(&self, used: &Used) -> impl Iterator<Item = (Measure, u64, u64)> + use<> {
        let all = [
            (Measure::Queries, self.queries, used.queries),
            (Measure::Rows, self.rows, used.rows),
            (Measure::Bytes, self.bytes, used.bytes),
        ];
        all.into_iter().filter_map(|(measure, limit, used)| Some((measure, limit?, used)))
    }
}

impl Used {
    /// Adds what else was used.
    pub fn add(&mut self, more: &Self) {
        self.queries = self.queries.saturating_add(more.queries);
        self.rows = self.rows.saturating_add(more.rows);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }
}

impl MembersState {
    /// Returns what an organisation, or [`ANONYMOUS`], may use in a day.
    pub fn quota(&self, whose: &str) -> Quota {
        if whose == ANONYMOUS {
            return self.anonymous_quota;
        }
        let known = self.organisations.iter().find(|known| known.name == whose);
        known.map(|known| known.quota).unwrap_or_default()
    }

    /// Returns who may use only so much in a day.
    pub fn quotas(&self) -> impl Iterator<Item = (&str, Quota)> {
        let organisations = self.organisations.iter().map(|known| (known.name.as_str(), known.quota));
        organisations.chain([(ANONYMOUS, self.anonymous_quota)]).filter(|(_, quota)| !quota.is_open())
    }
}

impl Members {
    /// Sets what an organisation, or [`ANONYMOUS`], may use in a day.
    ///
    /// # Errors
    /// Where the organisation is unknown, or the store fails.
    pub async fn set_quota(&self, whose: &str, quota: Quota) -> Result<(), AccessError> {
        self.change(|state, _| {
            if whose == ANONYMOUS {
                state.anonymous_quota = quota;
                return Ok(());
            }
            let known = state.organisations.iter_mut().find(|known| known.name == whose);
            let unknown = || AccessError::Unknown { what: format!("organisation `{whose}`") };
            known.ok_or_else(unknown)?.quota = quota;
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_limited_is_told() {
        let quota = Quota { rows: Some(10), ..Quota::default() };
        let mut used = Used { queries: 3, rows: 4, bytes: 5 };
        used.add(&Used { rows: u64::MAX, ..Used::default() });
        assert_eq!(quota.limits(&used).collect::<Vec<_>>(), [(Measure::Rows, 10, u64::MAX)]);
        let state = MembersState { anonymous_quota: quota, ..MembersState::default() };
        assert_eq!(state.quotas().collect::<Vec<_>>(), [(ANONYMOUS, quota)]);
        assert!(state.quota("sofia").is_open() && MembersState::default().quotas().next().is_none());
    }
}
