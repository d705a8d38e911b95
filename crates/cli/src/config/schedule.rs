//! `[schedule]`: what may run at once and for how long, and when tables are looked after.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use hambar_core::limits::MIB;
use hambar_run::schedule::{CatchUp, Cron, Job, JobName, Priority, Rhythm, RunLimits, Schedule, Slots, Upkeep};
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde::Deserialize;

/// Upkeep that could not start for so long is left for its next time.
const UPKEEP_LATE_MAX: SignedDuration = SignedDuration::from_hours(6);

/// `[schedule]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScheduleConfig {
    pub(crate) in_server: bool,
    pub(crate) runs_max: usize,
    pub(crate) per_host_max: usize,
    pub(crate) per_provider_max: usize,
    pub(crate) memory_bytes_max: u64,
    pub(crate) run_seconds_max: u64,
    pub(crate) drain_seconds: u64,
    pub(crate) look_seconds: u64,
    pub(crate) upkeep: UpkeepConfig,
}

/// `[schedule.upkeep]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpkeepConfig {
    pub(crate) optimize: String,
    pub(crate) vacuum: String,
    pub(crate) timezone: String,
}

impl ScheduleConfig {
    /// Checks what would otherwise only be noticed when nothing runs.
    pub(crate) fn check(&self) -> Result<()> {
        let least_one = [
            ("runs_max", self.runs_max as u64),
            ("per_host_max", self.per_host_max as u64),
            ("per_provider_max", self.per_provider_max as u64),
            ("run_seconds_max", self.run_seconds_max),
            ("drain_seconds", self.drain_seconds),
            ("look_seconds", self.look_seconds),
        ];
        if let Some((name, _)) = least_one.into_iter().find(|(_, value)| *value == 0) {
            bail!("`schedule.{name}` must be at least 1");
        }
        if self.memory_bytes_max < 256 * MIB {
            bail!("`schedule.memory_bytes_max` must be at least 256 MiB");
        }
        self.upkeep().map(|_| ())
    }

    /// How much may go on at once.
    pub(crate) fn slots(&self) -> Slots {
        Slots { runs_max: self.runs_max, per_host_max: self.per_host_max, per_provider_max: self.per_provider_max }
    }

    /// What each run may use.
    pub(crate) fn limits(&self) -> RunLimits {
        RunLimits {
            memory_bytes_max: self.memory_bytes_max,
            wall_max: Duration::from_secs(self.run_seconds_max),
            drain_max: Duration::from_secs(self.drain_seconds),
        }
    }

    /// The jobs that look after tables.
    pub(crate) fn upkeep(&self) -> Result<Vec<Job>> {
        let settings = &self.upkeep;
        let zone = TimeZone::get(&settings.timezone)
            .with_context(|| format!("`schedule.upkeep.timezone`: `{}` is not a time zone", settings.timezone))?;
        let mut jobs = Vec::new();
        for upkeep in Upkeep::ALL {
            let text = match upkeep {
                Upkeep::Optimize => &settings.optimize,
                Upkeep::Vacuum => &settings.vacuum,
            };
            if text.is_empty() {
                continue;
            }
            let cron = Cron::parse(text, zone.clone());
            let cron = cron.with_context(|| format!("`schedule.upkeep.{}` is wrong", upkeep.command()))?;
            let schedule = Schedule {
                rhythm: Rhythm::Cron(Box::new(cron)),
                jitter: SignedDuration::ZERO,
                priority: Priority::Low,
                catch_up: CatchUp::Skip { late_max: UPKEEP_LATE_MAX },
            };
            jobs.push(Job { name: JobName::Upkeep(upkeep), schedule, hosts: Vec::new(), provider: None });
        }
        Ok(jobs)
    }
}
