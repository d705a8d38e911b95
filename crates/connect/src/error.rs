//! Why a source could not be planned or read.

use hambar_core::{Classified, ErrorClass};
use hambar_fetch::FetchError;

/// A failed step of a connector.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A setting in `[source]` is wrong.
    #[error("setting `source.{setting}`: {what}")]
    Setting {
        /// The key.
        setting: String,
        /// What is wrong and what would be right.
        what: String,
    },
    /// An exchange failed.
    #[error("{step}")]
    Fetch {
        /// What was attempted, in words.
        step: String,
        /// The failure.
        #[source]
        source: FetchError,
    },
    /// An answer does not follow its protocol.
    #[error("answer of `{url}`: {what}")]
    Protocol {
        /// The address without secrets.
        url: String,
        /// What is wrong and where in the body.
        what: String,
    },
    /// The provider reports an error in a body.
    #[error("`{url}` reports {code}: {text}")]
    Reported {
        /// The address without secrets.
        url: String,
        /// The provider's code.
        code: String,
        /// The provider's text.
        text: String,
    },
    /// What arrived is not what was announced.
    #[error("`{url}` is incomplete: {announced} announced, {received} received")]
    Incomplete {
        /// The address without secrets.
        url: String,
        /// Announced, with its unit.
        announced: String,
        /// Received, with its unit.
        received: String,
    },
    /// A page came twice, or a cursor did not move.
    #[error("`{url}`: page {page} repeats: {what}")]
    Loop {
        /// The address without secrets.
        url: String,
        /// The page, counted from 1.
        page: u64,
        /// What repeats.
        what: String,
    },
    /// A dataflow has too many codes for its query to be planned.
    #[error("dataflow `{flow}`, dimension `{dimension}`: code list `{list}` goes beyond {value} codes (`{url}`)")]
    TooManyCodes {
        /// The address of the structure without secrets.
        url: String,
        /// The dataflow.
        flow: String,
        /// The dimension; `unknown` where the structure does not say.
        dimension: String,
        /// The code list.
        list: String,
        /// The limit, in codes of the whole structure.
        value: u64,
    },
    /// A limit was reached.
    #[error("`{url}`: {limit} of {value} reached")]
    Limit {
        /// The address without secrets.
        url: String,
        /// The limit's name.
        limit: &'static str,
        /// Its value.
        value: u64,
    },
}

impl Classified for ConnectError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Setting { .. } => ErrorClass::Config,
            Self::Fetch { source, .. } => source.class(),
            Self::Protocol { .. } => ErrorClass::Data,
            Self::Reported { .. } => ErrorClass::Refused,
            Self::Incomplete { .. } | Self::Loop { .. } => ErrorClass::Incomplete,
            Self::Limit { .. } | Self::TooManyCodes { .. } => ErrorClass::Limit,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Fetch { source, .. } => source.hint(),
            Self::TooManyCodes { .. } => {
                Some("narrow the query with `source.key` or `source.filters`, so that it need not be split".to_owned())
            }
            Self::Setting { .. }
            | Self::Protocol { .. }
            | Self::Reported { .. }
            | Self::Incomplete { .. }
            | Self::Loop { .. }
            | Self::Limit { .. } => None,
        }
    }
}
