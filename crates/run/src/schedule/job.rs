//! What can be scheduled: pipelines, and the upkeep of all tables.

use std::fmt;

use hambar_core::TableName;
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cron::Cron;

/// The name of a job; there is one job of each name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JobName {
    /// A run of this pipeline.
    Pipeline(TableName),
    /// Maintenance of all tables.
    Upkeep(Upkeep),
}

/// Maintenance of all tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Upkeep {
    /// Small files become large ones, and logs get checkpoints.
    Optimize,
    /// What nothing needs goes.
    Vacuum,
}

impl Upkeep {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Optimize, Self::Vacuum];

    /// Returns the command that does it, which is its name in `system.runs.pipeline`, too.
    pub fn command(self) -> &'static str {
        match self {
            Self::Optimize => "optimize",
            Self::Vacuum => "vacuum",
        }
    }
}

impl JobName {
    /// Returns the job whose name was shown as `text`.
    pub fn from_text(text: &str) -> Option<Self> {
        let upkeep = Upkeep::ALL.into_iter().find(|upkeep| upkeep.command() == text);
        upkeep.map(Self::Upkeep).or_else(|| text.parse().ok().map(Self::Pipeline))
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pipeline(table) => write!(formatter, "{table}"),
            Self::Upkeep(upkeep) => formatter.write_str(upkeep.command()),
        }
    }
}

/// Who goes first where not all can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// After the others.
    Low,
    /// As most.
    #[default]
    Normal,
    /// Before the others.
    High,
}

/// What happens to a time that was missed because no scheduler was up, or none had a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    /// One run makes up for all that were missed.
    Once,
    /// It is let go once it is later than this.
    Skip {
        /// Until then it still runs.
        late_max: SignedDuration,
    },
}

/// Re-checks of a source without a rhythm: the time between two doubles with each run that finds nothing new, and is
/// the shortest again after one that does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adaptive {
    /// After a change.
    pub shortest: SignedDuration,
    /// However long nothing changes.
    pub longest: SignedDuration,
}

/// When a job comes.
#[derive(Debug, Clone, PartialEq)]
pub enum Rhythm {
    /// At these times.
    Cron(Box<Cron>),
    /// As the source's changes suggest.
    Adaptive(Adaptive),
}

/// A checked section `[schedule]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// When it comes.
    pub rhythm: Rhythm,
    /// Each time is moved by up to so much; by how much is decided by the job's name and the time alone.
    pub jitter: SignedDuration,
    /// Who goes first.
    pub priority: Priority,
    /// What happens to missed times.
    pub catch_up: CatchUp,
}

/// Something that is started by its schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its name.
    pub name: JobName,
    /// When.
    pub schedule: Schedule,
    /// The hosts that it asks.
    pub hosts: Vec<String>,
    /// The institution that publishes.
    pub provider: Option<String>,
}
