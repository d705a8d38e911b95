//! Why bytes did not become rows.

use hambar_core::{Classified, ErrorClass};

/// A failed decode step, with its place. `file` is the member's name inside an archive, or `body`.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes could not be read.
    #[error("read `{file}`")]
    Read {
        /// The file or member.
        file: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The bytes are not in the declared format.
    #[error("`{file}` is not {format} at {place}: {what}")]
    Format {
        /// The file or member.
        file: String,
        /// The format's name.
        format: &'static str,
        /// Byte offset, line, record, element or sheet cell.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// A named limit was reached.
    #[error("`{file}`: {limit} of {value} {unit} reached at {place}")]
    Limit {
        /// The file or member.
        file: String,
        /// The limit's name.
        limit: &'static str,
        /// Its value.
        value: u64,
        /// Its unit.
        unit: &'static str,
        /// Where it was reached.
        place: String,
    },
    /// The columns are not the declared ones.
    #[error("columns of `{file}` drifted: {what}")]
    Drift {
        /// The file or member.
        file: String,
        /// Columns added and missing.
        what: String,
    },
    /// A setting of the format does not fit the bytes or other settings.
    #[error("setting `{setting}`: {what}")]
    Setting {
        /// The key in the pipeline file, for instance `format.encoding`.
        setting: &'static str,
        /// Why it does not fit.
        what: String,
    },
    /// Too many records broke the contract.
    #[error("{rejected} records rejected, more than {rejects_max}; the first: {first}")]
    Rejects {
        /// Records rejected when it stopped.
        rejected: u64,
        /// The limit.
        rejects_max: u64,
        /// The first reject: column, record, reason.
        first: String,
    },
    /// The provider's message reports an error instead of data (SDMX footer, JSON error object).
    #[error("the answer is an error message: {code}: {text}")]
    Message {
        /// The provider's code.
        code: String,
        /// The provider's text.
        text: String,
    },
    /// The consumer of the rows went away.
    #[error("the consumer of the rows stopped")]
    Stopped,
}

impl Classified for DecodeError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read { .. } | Self::Format { .. } | Self::Rejects { .. } => ErrorClass::Data,
            Self::Limit { .. } => ErrorClass::Limit,
            Self::Drift { .. } => ErrorClass::Drift,
            Self::Setting { .. } => ErrorClass::Config,
            Self::Message { .. } => ErrorClass::Refused,
            Self::Stopped => ErrorClass::Cancelled,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Drift { .. } => {
                Some("declare the new columns, name them in `ignore`, or set `write.on_drift`".to_owned())
            }
            Self::Rejects { .. } => {
                Some("see `<table>__rejects`, mend the columns' types, or raise `write.rejects_max`".to_owned())
            }
            Self::Limit { .. } => Some(
                "the limits of decoders are fixed; a file beyond one is mostly damaged, in another format than declared, or \
                 read at the wrong place (`format.record_path`, `format.members`)"
                    .to_owned(),
            ),
            Self::Read { .. } | Self::Format { .. } | Self::Setting { .. } | Self::Message { .. } | Self::Stopped => {
                None
            }
        }
    }
}
