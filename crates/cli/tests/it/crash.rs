//! Runs that die: at each named stop and at random instants. After a restart every row is there exactly once, history is
//! right, and at no time was anything partial to be seen. Two runs at once end with one result.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use hambar_run::FAULT_POINTS;

use crate::support::{Provider, Ran, Workshop, now, setting, snapshot_of};

pub(crate) const TABLE: &str = "test.ledger";
const SELECT: &str = "SELECT id, value FROM test.ledger";
/// The stop from which on a commit is known to be there.
const COMMITTED_AT: &str = "after_commit";
/// Keys that releases choose from.
const KEYS: u64 = 60;
/// Kills in the two tests with random instants together.
const KILLS: u64 = 200;

/// A table, its provider, and what the table must hold.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) workshop: Workshop,
    provider: Provider,
    /// Acknowledged releases, each with an instant at which it was the newest.
    acknowledged: Vec<(u64, String)>,
}

/// Release `n`: most keys, some with another value than in the release before, some missing.
fn release(n: u64) -> BTreeMap<u64, u64> {
    (0..KEYS).filter(|id| !(id + n).is_multiple_of(7)).map(|id| (id, id * 1000 + n / (id % 4 + 1))).collect()
}

fn lines(release: &BTreeMap<u64, u64>) -> Vec<String> {
    let mut lines: Vec<String> = release.iter().map(|(id, value)| format!("{id},{value}")).collect();
    lines.sort();
    lines
}

/// Rows of `old` that `new` changed or no longer has.
fn superseded(old: &BTreeMap<u64, u64>, new: &BTreeMap<u64, u64>) -> usize {
    old.iter().filter(|(id, value)| new.get(id) != Some(value)).count()
}

impl Ledger {
    pub(crate) fn new() -> Self {
        let (workshop, provider) = (Workshop::new(), Provider::start());
        workshop.pipeline(TABLE, &snapshot_of(&provider.url("/ledger.csv"), &[("id", "int64"), ("value", "int64")], 1));
        Self { workshop, provider, acknowledged: Vec::new() }
    }

    pub(crate) fn publish(&self, n: u64) {
        let mut text = String::from("id,value\n");
        for (id, value) in release(n) {
            text.push_str(&format!("{id},{value}\n"));
        }
        self.provider.publish("/ledger.csv", &text);
    }

    /// Runs until the process ends itself at `point`.
    #[track_caller]
    fn die_at(&self, point: &str) {
        let mut command = self.workshop.command(&["run", TABLE]);
        let ran = Ran::of(command.env("HAMBAR_FAULT_POINT", point));
        assert_eq!(ran.output.status.signal(), Some(6), "{point}: {}{}", ran.stdout, ran.stderr);
    }

    /// Runs and kills the process after `delay`; says whether that came in time.
    fn kill_after(&self, delay: Duration) -> bool {
        let mut command = self.workshop.command(&["run", TABLE]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(delay);
        child.kill().unwrap();
        child.wait().unwrap().signal() == Some(9)
    }

    /// Runs to the end, which must go well, and takes note of it.
    #[track_caller]
    pub(crate) fn acknowledge(&mut self, n: u64) {
        self.workshop.run(TABLE);
        self.acknowledged.push((n, now()));
    }

    /// What readers see now: the newest acknowledged release, or also `pending` as a whole, but nothing else.
    #[track_caller]
    pub(crate) fn check_visible(&self, pending: u64, what: &str) -> Option<u64> {
        let ran = self.workshop.hambar(&["sql", "--format", "csv", SELECT]);
        let mut found: Vec<String> = ran.stdout.lines().skip(1).map(str::to_owned).collect();
        found.sort();
        let before = self.acknowledged.last().map(|(n, _)| *n);
        if before.is_none() && (ran.code() == Some(20) || (ran.code() == Some(0) && found.is_empty())) {
            return None;
        }
        assert_eq!(ran.code(), Some(0), "{what}: {}", ran.stderr);
        if found == lines(&release(pending)) {
            return Some(pending);
        }
        assert_eq!(Some(found), before.map(|n| lines(&release(n))), "{what}: neither the old nor the new release");
        before
    }

    /// The table holds the newest acknowledged release, its history everything that was superseded, each row once.
    #[track_caller]
    pub(crate) fn check_history(&self, what: &str) {
        let newest = self.acknowledged.last().unwrap().0;
        assert_eq!(self.workshop.rows(SELECT), lines(&release(newest)), "{what}");
        let expected: usize =
            self.acknowledged.windows(2).map(|pair| superseded(&release(pair[0].0), &release(pair[1].0))).sum();
        if self.acknowledged.len() > 1 {
            let sql = "SELECT count(*), count(DISTINCT concat(id, '/', value, '/', _recorded_at)) FROM history('test.ledger')";
            assert_eq!(self.workshop.value(sql), format!("{expected},{expected}"), "{what}");
        }
    }

    /// Each of these acknowledged releases can be had again.
    #[track_caller]
    fn check_past(&self, what: &str, releases: &[(u64, String)]) {
        for (n, instant) in releases {
            let rows = self.workshop.rows(&format!("{SELECT} FOR SYSTEM_TIME AS OF '{instant}'"));
            assert_eq!(rows, lines(&release(*n)), "{what}: release {n} as of {instant}");
        }
    }
}

/// Dies at a stop of the first load and of a revision; restarts each time.
fn check_stop(point: &str) {
    let is_committed = position(point) >= position(COMMITTED_AT);
    let mut ledger = Ledger::new();
    ledger.publish(1);
    ledger.die_at(point);
    let seen = ledger.check_visible(1, &format!("first load, killed at {point}"));
    assert_eq!(seen, is_committed.then_some(1), "first load, killed at {point}");
    ledger.acknowledge(1);
    ledger.check_history(&format!("first load, restarted after {point}"));
    ledger.publish(2);
    ledger.die_at(point);
    let seen = ledger.check_visible(2, &format!("revision, killed at {point}"));
    assert_eq!(seen, Some(if is_committed { 2 } else { 1 }), "revision, killed at {point}");
    ledger.acknowledge(2);
    ledger.check_history(&format!("revision, restarted after {point}"));
    ledger.check_past(point, &ledger.acknowledged);
    ledger.workshop.fsck();
}

fn position(point: &str) -> usize {
    FAULT_POINTS.iter().position(|known| *known == point).unwrap()
}

#[test]
fn a_run_may_die_at_each_stop_before_the_commit() {
    FAULT_POINTS[..position(COMMITTED_AT)].iter().for_each(|point| check_stop(point));
}

#[test]
fn a_run_may_die_at_each_stop_after_the_commit() {
    FAULT_POINTS[position(COMMITTED_AT)..].iter().for_each(|point| check_stop(point));
}

/// Steele, Lea and Flood's SplitMix64: enough for choosing instants.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// Kills at random instants of a run's length: several kills of the same release, then a run that is left alone.
fn check_kills(seed: u64) {
    let seed = setting("HAMBAR_TEST_SEED").and_then(|text| text.parse().ok()).unwrap_or(seed);
    let wanted = if setting("HAMBAR_TEST_LONG").is_some() { KILLS * 5 } else { KILLS / 2 };
    println!("seed {seed}, {wanted} kills; HAMBAR_TEST_SEED repeats it");
    let mut random = Random(seed);
    let mut ledger = Ledger::new();
    ledger.publish(0);
    let started = Instant::now();
    ledger.acknowledge(0);
    let mut length = u64::try_from(started.elapsed().as_millis()).unwrap().max(100);
    let (mut kills, mut too_late, mut n) = (0, 0, 0);
    while kills < wanted {
        n += 1;
        ledger.publish(n);
        for _ in 0..=random.below(7) {
            let delay = Duration::from_millis(5 + random.below(length));
            if ledger.kill_after(delay) {
                kills += 1;
            } else {
                // The machine got faster since the length was taken: aim earlier.
                too_late += 1;
                length = (length * 4 / 5).max(50);
            }
        }
        let what = format!("seed {seed}, release {n}, {kills} kills");
        ledger.check_visible(n, &what);
        let started = Instant::now();
        ledger.acknowledge(n);
        length = length.max(u64::try_from(started.elapsed().as_millis()).unwrap() / 2);
        ledger.check_visible(n, &what);
        let earlier = usize::try_from(random.below(ledger.acknowledged.len() as u64)).unwrap();
        ledger.check_past(&what, &ledger.acknowledged[earlier..=earlier]);
    }
    println!("{kills} kills of {n} releases, {too_late} came too late; a run takes {length} ms");
    let what = format!("seed {seed}, at the end");
    ledger.check_history(&what);
    ledger.check_past(&what, &ledger.acknowledged[..ledger.acknowledged.len().min(10)]);
    ledger.workshop.fsck();
}

#[test]
fn a_run_may_be_killed_at_any_time() {
    check_kills(1_726_394_051);
}

#[test]
fn a_run_may_be_killed_at_any_time_again() {
    check_kills(8_064_173_295);
}

#[test]
fn two_runs_at_once_end_with_one_result() {
    let mut ledger = Ledger::new();
    for n in 1..=4 {
        ledger.publish(n);
        let start = || {
            let mut command = ledger.workshop.command(&["run", TABLE]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let children = [start(), start()];
        let ended = children.map(|child| child.wait_with_output().unwrap());
        let codes = ended.each_ref().map(|output| output.status.code());
        let said = ended.each_ref().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        assert!(codes.iter().all(|code| matches!(code, Some(0 | 17))), "{ended:?}");
        let commits = said.iter().filter(|text| text.contains("committed version")).count();
        assert_eq!(commits, 1, "{said:?}");
        ledger.acknowledged.push((n, now()));
        ledger.check_history(&format!("release {n}, two runs at once"));
    }
    let runs = ledger.workshop.rows("SELECT count(*) FROM system.runs WHERE outcome = 'committed'");
    assert_eq!(runs, ["4"]);
    ledger.check_past("two runs at once", &ledger.acknowledged);
    ledger.workshop.fsck();
}
