//! How far a pipeline has come, slice by slice. A checkpoint becomes visible in the commit of its rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Names an independently readable part of a source, stable between runs (a URL, a country, a series key).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SliceId(pub String);

impl std::fmt::Display for SliceId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// How far one slice has been read. Only the connector that wrote the text of `At` reads it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// Nothing was read.
    #[default]
    Start,
    /// Read up to and including this place.
    At(Box<str>),
    /// Read whole.
    End,
}

/// The HTTP validators of an answer: RFC 9110 §8.8.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Validators {
    /// `ETag`, byte for byte, weak prefix included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// `Last-Modified`, as received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

/// What was seen of a slice when its rows were committed; the base of the next run's change ladder.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Seen {
    /// SHA-256 (hex) of the bytes; of the concatenated page hashes where a slice has several pages.
    pub sha256: String,
    /// Length in bytes, all pages together.
    pub length: u64,
    /// Validators of the answer, for conditional requests.
    #[serde(default)]
    pub validators: Validators,
    /// The date that the provider's catalogue gave (CKAN `last_modified`, SDMX `validFrom`, WB `lastupdated` …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogue_date: Option<String>,
    /// Rows that the slice had, rejects included.
    pub rows: u64,
}

/// The state of one slice.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SliceState {
    /// How far it was read.
    pub position: Position,
    /// What was seen at that point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
}

/// The state of all slices of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Checkpoint {
    /// State by slice; absent means [`Position::Start`].
    pub slices: BTreeMap<SliceId, SliceState>,
}

impl Checkpoint {
    /// Returns the state of `slice`, the start if it is unknown.
    pub fn slice(&self, slice: &SliceId) -> SliceState {
        self.slices.get(slice).cloned().unwrap_or_default()
    }
}
