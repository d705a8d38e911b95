//! Why a request got no answer. Each protocol maps the class to its own codes, once.

use std::time::Duration;

use hambar_core::{Classified, ErrorClass};
use hambar_query::{Position, QueryError};
use jiff::Timestamp;

use crate::access::{AccessError, Measure};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    /// The statement was refused or failed.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Whoever asks did not get in.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Their role does not allow it.
    #[error("{what} is for {needed}s")]
    Role {
        /// What was asked for.
        what: &'static str,
        /// The role that may.
        needed: crate::access::Role,
    },
    /// The member has too many queries waiting.
    #[error("{waiting} of your queries are waiting already; at most {limit} may")]
    MemberBusy {
        /// How many.
        waiting: usize,
        /// The limit.
        limit: usize,
    },
    /// Too many queries are waiting.
    #[error("{limit} queries are waiting already; no more may")]
    Busy {
        /// The limit.
        limit: usize,
    },
    /// The query's turn did not come.
    #[error("the query's turn did not come within {} s", .limit.as_secs_f64())]
    Waited {
        /// The limit.
        limit: Duration,
    },
    /// The organisation, or all people without a token, have used what they may use in a day.
    #[error("{whose} {limit} {measure} of the day; they come back at {opens_at}")]
    Spent {
        /// Who has used it, as the beginning of a sentence.
        whose: String,
        /// What of its quota is used up.
        measure: Measure,
        /// The quota.
        limit: u64,
        /// When the next day begins.
        opens_at: Timestamp,
        /// How long that is from now.
        wait: Duration,
    },
    /// The server is going down.
    #[error("the server is going down")]
    Stopping,
}

impl FrontError {
    /// Returns after how long the same request may go well, where that is known.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Spent { wait, .. } => Some(*wait),
            _ => None,
        }
    }

    /// Returns the place in the statement, where it is known.
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Query(error) => error.position(),
            _ => None,
        }
    }
}

impl Classified for FrontError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Query(error) => error.class(),
            Self::Access(error) => error.class(),
            Self::Role { .. } => ErrorClass::Denied,
            Self::MemberBusy { .. } | Self::Busy { .. } | Self::Waited { .. } | Self::Spent { .. } => ErrorClass::Quota,
            Self::Stopping => ErrorClass::Transient,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Query(error) => error.hint(),
            Self::Access(error) => error.hint(),
            Self::Role { .. } => None,
            Self::MemberBusy { .. } => Some("wait for your other queries, or cancel one".to_owned()),
            Self::Busy { .. } | Self::Waited { .. } => Some("ask again a little later".to_owned()),
            Self::Spent { .. } => Some("whoever runs this centre can raise it: `hambar members set-quota`".to_owned()),
            Self::Stopping => Some("ask again, another server may answer".to_owned()),
        }
    }
}
