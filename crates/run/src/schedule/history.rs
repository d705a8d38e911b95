//! What became of a job's past runs, as far as deciding about the next one needs it.

use hambar_core::ErrorClass;
use jiff::Timestamp;

/// Runs of a job that are remembered, the newest.
pub const RUNS_KEPT: usize = 64;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Something was committed.
    Changed,
    /// Nothing was new.
    Unchanged,
    /// It failed.
    Failed(ErrorClass),
    /// Another run was at work; it has a row of its own.
    Busy,
    /// Somebody stopped it.
    Cancelled,
}

impl Ending {
    /// Reads the columns `outcome` and `error_class` of `system.runs`; upkeep is `done`.
    pub fn from_words(outcome: &str, class: Option<&str>) -> Self {
        match outcome {
            "committed" | "already_applied" | "done" => Self::Changed,
            "unchanged" => Self::Unchanged,
            "busy" => Self::Busy,
            "cancelled" => Self::Cancelled,
            "conflict" => Self::Failed(ErrorClass::Conflict),
            // A word of a later version is a failure, unless it says otherwise.
            _ => Self::Failed(class.and_then(ErrorClass::from_name).unwrap_or(ErrorClass::Internal)),
        }
    }

    /// Says whether the run came to an end of its own, good or bad: only then the time it was for is dealt with.
    fn counts(self) -> bool {
        match self {
            Self::Changed | Self::Unchanged | Self::Failed(_) => true,
            Self::Busy | Self::Cancelled => false,
        }
    }
}

/// A run that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastRun {
    /// Its id.
    pub run: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// How.
    pub ending: Ending,
}

/// The newest runs of one job, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    runs: Vec<PastRun>,
    changed_at: Option<Timestamp>,
    verified_at: Option<Timestamp>,
    /// When the newest run that went well began.
    verified_from: Option<Timestamp>,
}

impl History {
    /// Takes a run in; one that is known changes nothing.
    pub fn add(&mut self, run: PastRun) {
        if self.has(&run.run) {
            return;
        }
        if run.ending == Ending::Changed {
            self.changed_at = self.changed_at.max(Some(run.finished_at));
        }
        if matches!(run.ending, Ending::Changed | Ending::Unchanged) {
            self.verified_at = self.verified_at.max(Some(run.finished_at));
            self.verified_from = self.verified_from.max(Some(run.started_at));
        }
        let key = |run: &PastRun| (run.started_at, run.finished_at);
        let place = self.runs.partition_point(|known| key(known) >= key(&run));
        self.runs.insert(place, run);
        self.runs.truncate(RUNS_KEPT);
    }

    /// Says whether this run is among them.
    pub fn has(&self, run: &str) -> bool {
        self.runs.iter().any(|known| known.run == run)
    }

    /// Returns the newest run.
    pub fn newest(&self) -> Option<&PastRun> {
        self.runs.first()
    }

    /// Returns when rows were last committed.
    pub fn changed_at(&self) -> Option<Timestamp> {
        self.changed_at
    }

    /// Returns when the table was last known to be what the source has.
    pub fn verified_at(&self) -> Option<Timestamp> {
        self.verified_at
    }

    /// When the newest run that went well began.
    pub(crate) fn verified_from(&self) -> Option<Timestamp> {
        self.verified_from
    }

    /// The oldest run that is remembered.
    pub(crate) fn oldest(&self) -> Option<&PastRun> {
        self.runs.last()
    }

    /// The newest run that dealt with the time it was for.
    pub(crate) fn anchor(&self) -> Option<&PastRun> {
        self.runs.iter().find(|run| run.ending.counts())
    }

    /// How many of the newest runs did not get to do anything.
    pub(crate) fn put_off(&self) -> u32 {
        count(self.runs.iter().take_while(|run| !run.ending.counts()))
    }

    /// How many runs have failed since one went well.
    pub(crate) fn failures(&self) -> u32 {
        let counting = self.runs.iter().filter(|run| run.ending.counts());
        count(counting.take_while(|run| matches!(run.ending, Ending::Failed(_))))
    }

    /// How many runs have found nothing new since one did.
    pub(crate) fn unchanged(&self) -> u32 {
        let went_well = self.runs.iter().filter(|run| matches!(run.ending, Ending::Changed | Ending::Unchanged));
        count(went_well.take_while(|run| run.ending == Ending::Unchanged))
    }
}

fn count<'a>(runs: impl Iterator<Item = &'a PastRun>) -> u32 {
    u32::try_from(runs.count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, minute: i64, ending: Ending) -> PastRun {
        let started_at = Timestamp::from_second(60 * minute).unwrap();
        let finished_at = Timestamp::from_second(60 * minute + 10).unwrap();
        PastRun { run: name.to_owned(), started_at, finished_at, ending }
    }

    #[test]
    fn runs_are_kept_once_and_in_order_however_they_come() {
        let mut history = History::default();
        for (name, minute, ending) in [
            ("b", 2, Ending::Unchanged),
            ("a", 1, Ending::Changed),
            ("d", 4, Ending::Busy),
            ("c", 3, Ending::Failed(ErrorClass::Transient)),
            ("b", 2, Ending::Unchanged),
        ] {
            history.add(run(name, minute, ending));
        }
        let names: Vec<&str> = history.runs.iter().map(|run| run.run.as_str()).collect();
        assert_eq!(names, ["d", "c", "b", "a"]);
        assert_eq!(history.anchor().unwrap().run, "c");
        assert_eq!((history.put_off(), history.failures(), history.unchanged()), (1, 1, 1));
        assert_eq!(history.changed_at(), Some(Timestamp::from_second(70).unwrap()));
        assert_eq!(history.verified_at(), Some(Timestamp::from_second(130).unwrap()));
    }

    #[test]
    fn old_runs_go_but_the_last_change_is_remembered() {
        let mut history = History::default();
        history.add(run("first", 0, Ending::Changed));
        for minute in 1..200 {
            history.add(run(&minute.to_string(), minute, Ending::Unchanged));
        }
        assert_eq!(history.runs.len(), RUNS_KEPT);
        assert_eq!(history.changed_at(), Some(Timestamp::from_second(10).unwrap()));
    }

    #[test]
    fn words_of_the_table_are_understood() {
        let words = [
            ("committed", None, Ending::Changed),
            ("failed", Some("quota"), Ending::Failed(ErrorClass::Quota)),
            ("conflict", Some("conflict"), Ending::Failed(ErrorClass::Conflict)),
            ("something new", Some("unheard of"), Ending::Failed(ErrorClass::Internal)),
        ];
        for (outcome, class, expected) in words {
            assert_eq!(Ending::from_words(outcome, class), expected);
        }
    }
}
