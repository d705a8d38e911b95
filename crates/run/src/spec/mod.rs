//! Version 1 of the pipeline file. [`PipelineSpec`] mirrors the file; [`crate::Pipeline`] is what comes out of checking
//! it. Checking does no I/O and reports every problem of the file at once.

mod check;
mod columns;
mod licence;
mod problem;
mod schedule;
mod shape;
mod tree;

use hambar_connect::SourceSpec;
use hambar_core::{Ident, OnDrift, Redistribution, WriteMode};
use hambar_decode::spec::{ColumnRule, FormatSpec, NullSpec, UnpivotSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use check::parse;
pub use problem::Problem;

use crate::schedule::Priority;

/// A pipeline file, `pipelines/<namespace>/<table>.toml`; the path is the name of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Hambar pipeline, version 1")]
pub struct PipelineSpec {
    /// The version of this form: 1.
    pub version: u32,
    /// What the table holds, in a sentence or two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whom the provider may write to (an e-mail address or a web page); goes into the User-Agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// Source columns that are left out on purpose, as names or globs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// Where the bytes come from: the connector's `kind` and its settings.
    pub source: SourceSpec,
    /// How bytes become records.
    pub format: FormatSpec,
    /// The table's columns, in order.
    pub columns: Vec<ColumnRule>,
    /// Which texts mean "missing".
    #[serde(default)]
    pub nulls: NullSpec,
    /// Wide columns (years) to rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpivot: Option<UnpivotSpec>,
    /// How a run's rows meet those that are there.
    pub write: WriteSpec,
    /// When it is due; by hand only when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleSpec>,
    /// How long old things are kept; for ever when absent.
    #[serde(default)]
    pub retention: Retention,
    /// Who publishes it, and under which licence.
    pub origin: OriginSpec,
}

/// The section `[write]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteSpec {
    /// `append`: rows are added. `snapshot`: the run brings everything, absent rows were withdrawn. `upsert`: rows are
    /// new or replace the row with the same key.
    #[schemars(with = "WriteModeWord")]
    pub mode: WriteMode,
    /// The columns that identify a row; `upsert` needs them.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub key: Vec<Ident>,
    /// The columns that split the table into folders; few values each.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub partition_by: Vec<Ident>,
    /// When the source's columns are not the declared ones. `fail`: the run fails. `add_columns`: new ones are added as
    /// text. `widen`: types may widen too. `quarantine`: rows that do not fit are rejected, the rest is published.
    /// A column that is gone is empty from then on, except with `fail`; the key's columns must always be there.
    #[serde(default = "fail")]
    #[schemars(with = "OnDriftWord")]
    pub on_drift: OnDrift,
    /// Rejected records after which a run fails.
    #[serde(default = "rejects_max")]
    pub rejects_max: u64,
    /// Whether a source that had rows may be empty, which withdraws them all in `snapshot` mode.
    #[serde(default)]
    pub allow_empty: bool,
}

/// The words of [`WriteMode`], for the schema.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum WriteModeWord {
    Append,
    Snapshot,
    Upsert,
}

/// The words of [`OnDrift`], for the schema.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum OnDriftWord {
    Fail,
    AddColumns,
    Widen,
    Quarantine,
}

/// The words of [`Redistribution`], for the schema.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum RedistributionWord {
    Allowed,
    Forbidden,
}

fn fail() -> OnDrift {
    OnDrift::Fail
}

fn rejects_max() -> u64 {
    hambar_decode::spec::DecodeLimits::default().rejects_max
}

/// The section `[schedule]`: either `cron` or `adaptive`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// Five fields: minute, hour, day of month, month, day of week.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The IANA time zone in which `cron` is read.
    #[serde(default = "utc")]
    pub timezone: String,
    /// For a source without a rhythm: the time to the next run doubles while nothing changes, and is the shortest again
    /// when something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<AdaptiveSpec>,
    /// Each time is moved by up to so many minutes, at most 1440, so that not everybody asks a provider at once.
    #[serde(default)]
    pub jitter_minutes: u32,
    /// Who goes first where not all can run at once.
    #[serde(default)]
    pub priority: Priority,
    /// Times that were missed because no scheduler was up. `once`: one run makes up for all of them. `skip`: they are let
    /// go when they are later than `late_minutes_max`.
    #[serde(default)]
    pub catch_up: CatchUpWord,
    /// With `catch_up = "skip"`: how late a run may still start, in minutes, at most 1440.
    #[serde(default = "late_minutes_max")]
    pub late_minutes_max: u32,
}

/// The section `[schedule.adaptive]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdaptiveSpec {
    /// Minutes to the next run after one that found something new.
    #[serde(default = "shortest_minutes")]
    pub shortest_minutes: u32,
    /// Minutes to the next run however long nothing has changed.
    #[serde(default = "longest_minutes")]
    pub longest_minutes: u32,
}

/// The words of `schedule.catch_up`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CatchUpWord {
    /// One run makes up for all that were missed.
    #[default]
    Once,
    /// They are let go.
    Skip,
}

fn late_minutes_max() -> u32 {
    60
}

fn shortest_minutes() -> u32 {
    60
}

fn longest_minutes() -> u32 {
    7 * 24 * 60
}

fn utc() -> String {
    "UTC".to_owned()
}

/// The section `[retention]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Days for which replaced versions stay readable, at least 7; what `hambar vacuum` is told when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_days: Option<u32>,
    /// Days for which superseded rows are kept, at least 7; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_days: Option<u32>,
    /// Days for which raw bytes are kept, at least 7; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_days: Option<u32>,
    /// Says that `hambar rebuild` need not work any more. Without it nothing goes that a rebuild needs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_break_rebuild: bool,
}

/// The section `[origin]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OriginSpec {
    /// The institution that publishes.
    pub provider: String,
    /// The dataset's title as the provider gives it.
    pub title: String,
    /// The sentence to cite it by.
    pub citation: String,
    /// The page that describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landing_page: Option<String>,
    /// The licence: an SPDX identifier such as `CC-BY-4.0`, or `LicenseRef-` and a name for a provider's own terms.
    pub licence: String,
    /// Whether values may be given to people outside the cluster.
    #[serde(default = "forbidden")]
    #[schemars(with = "RedistributionWord")]
    pub redistribution: Redistribution,
}

fn forbidden() -> Redistribution {
    Redistribution::Forbidden
}

/// Returns the JSON Schema of the pipeline file; `config/pipeline.schema.json` is its copy for editors.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(PipelineSpec).to_value()
}
