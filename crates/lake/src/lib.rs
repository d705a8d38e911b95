//! `TableStore` on Delta Lake: serial commits, history of superseded rows, leases, and snapshots for readers.
//!
//! Commits do not go through delta-rs: its conflict checker lets stale rewrites pass and its retries hide durable
//! commits (`reliability.md` LD1–LD5). The log is a sequence of small JSON files, created with put-if-absent; this
//! crate writes and reads them itself, and reads every one back before it counts.

mod access;
mod actions;
mod append;
mod bounds;
mod checkpoint;
mod cite;
mod column;
mod commit;
mod compare;
mod create;
mod durable;
mod encode;
mod error;
mod external;
mod grouped;
mod host;
mod hybrid;
mod incoming;
mod lake;
mod layout;
mod lease;
mod log;
mod maintain;
mod merge;
mod output;
mod partition;
mod place;
mod plan;
mod publish;
mod reader;
mod row_group;
mod s3;
mod schema;
mod side;
mod snapshot;
mod sortkey;
mod source;
mod spill;
mod stats;
mod system;
mod text_dictionary;
mod texts;
mod transaction;
mod versions;
mod widen;
mod writer;

pub use access::Access;
pub use actions::{Add, Metadata, Protocol, Remove};
pub use cite::FoundCitation;
pub use durable::FlushObserver;
pub use host::HostInfo;
pub use lake::Lake;
pub use log::LogState;
pub use maintain::{Ages, Expired, Optimized, RETENTION_DAYS_MIN, RawReport, TableReport, Vacuumed};
pub use output::SortedLimits;
pub use s3::OPTION_CA_CERTIFICATES;
pub use snapshot::{DataFile, TableSnapshot};
pub use versions::VersionInfo;
