//! `hambar schedule` as it is used: pipelines that are due run as processes, whatever ends these or the scheduler leaves
//! exactly one row of each, and of two schedulers on one store one works.

mod deaths;
mod rules;
mod soak;
mod upkeep;

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use hambar_testkit::evil_http::Answer;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Provider, Workshop, snapshot_of};

/// Once a year, so that only the first run is due; jitter none.
const YEARLY: &str = "[schedule]\ncron = \"0 0 1 1 *\"\n";
const WAIT_MAX: Duration = Duration::from_secs(180);

/// A scheduler that runs; killed when it is dropped.
struct Scheduling(Child);

impl Scheduling {
    fn start(workshop: &Workshop, environment: &[(&str, &str)]) -> Self {
        Self::of(workshop, &["schedule"], environment)
    }

    /// A server, which looks after schedules too.
    fn serve(workshop: &Workshop) -> Self {
        Self::of(workshop, &["serve", "--listen", "127.0.0.1:0"], &[])
    }

    fn of(workshop: &Workshop, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let log = std::fs::File::options().create(true).append(true).open(workshop.path().join("log.txt")).unwrap();
        let mut command = workshop.command(arguments);
        command.envs(environment.iter().copied());
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// The runs that it has under way, as processes.
    fn children(&self) -> Vec<Pid> {
        let text = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.0.id())).unwrap_or_default();
        text.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).unwrap();
    }

    /// Ends it as an operator does; returns its exit code.
    fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.0.wait().unwrap().code()
    }

    /// Ends it as a crash does.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Scheduling {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder with pipelines `t.p0` … that are due, over `targets` of the provider.
fn workshop(provider: &Provider, targets: &[&str], settings: &str) -> Workshop {
    let workshop = Workshop::new();
    for (index, target) in targets.iter().enumerate() {
        let text = snapshot_of(&provider.url(target), &[("id", "int64"), ("value", "int64")], 1);
        workshop.pipeline(&format!("t.p{index}"), &text.replacen("[origin]", &format!("{YEARLY}[origin]"), 1));
    }
    let known = std::fs::read_to_string(workshop.path().join("hambar.toml")).unwrap();
    // Upkeep has times of its own, which a test might happen to meet.
    let never = "[schedule.upkeep]\noptimize = \"\"\nvacuum = \"\"\n";
    workshop
        .write("hambar.toml", &format!("{known}\n[schedule]\nlook_seconds = 1\nper_host_max = 9\n{settings}\n{never}"));
    workshop
}

/// Replaces the schedule of a pipeline.
fn reschedule(workshop: &Workshop, table: &str, schedule: &str) {
    let file = workshop.path().join(format!("pipelines/{}.toml", table.replace('.', "/")));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(YEARLY));
    std::fs::write(&file, text.replacen(YEARLY, &format!("[schedule]\n{schedule}\n"), 1)).unwrap();
}

/// What the schedulers have said.
fn log(workshop: &Workshop) -> String {
    std::fs::read_to_string(workshop.path().join("log.txt")).unwrap_or_default()
}

/// Everything that must be true of `system.runs` whatever happened: each started run has one row, no pipeline ran twice at
/// a time, and nothing is under way any more.
#[track_caller]
fn settled(workshop: &Workshop) {
    assert_eq!(workshop.files("store/schedule").len(), 0);
    let rows = workshop.rows("SELECT run FROM system.runs");
    assert!(rows.windows(2).all(|pair| pair[0] != pair[1]), "a run has two rows: {rows:?}");
    let log = log(workshop);
    let started: Vec<&str> = log.lines().filter(|line| line.contains("run started")).filter_map(run_of).collect();
    assert!(!started.is_empty(), "{log}");
    for run in started {
        assert!(rows.iter().any(|row| row == run), "run {run} has no row\n{log}");
    }
    let overlaps = "SELECT a.run, b.run FROM system.runs a JOIN system.runs b ON a.pipeline = b.pipeline AND a.run < b.run \
        AND a.started_at < b.finished_at AND b.started_at < a.finished_at \
        WHERE a.outcome <> 'busy' AND b.outcome <> 'busy' AND a.pid IS NOT NULL AND b.pid IS NOT NULL";
    assert_eq!(workshop.rows(overlaps), Vec::<String>::new(), "{log}");
}

/// The id in a line of the log.
fn run_of(line: &str) -> Option<&str> {
    line.split_once(" run=").and_then(|(_, rest)| rest.split_whitespace().next())
}

fn rows(count: u64) -> String {
    let mut text = String::from("id,value\n");
    for id in 0..count {
        text.push_str(&format!("{id},{}\n", id * 7));
    }
    text
}

/// The runs so far as `pipeline,outcome`, sorted; every run has one row.
#[track_caller]
fn runs(workshop: &Workshop) -> Vec<String> {
    let asked = workshop.hambar(&["sql", "--format", "csv", "SELECT pipeline, outcome FROM system.runs"]);
    // There is no such table before the first run has ended.
    if asked.code() == Some(20) {
        return Vec::new();
    }
    assert_eq!(workshop.value("SELECT count(*) - count(DISTINCT run) FROM system.runs"), "0");
    let mut found: Vec<String> = asked.ok().lines().skip(1).map(str::to_owned).collect();
    found.sort();
    found
}

/// Waits until so many runs have ended.
#[track_caller]
fn wait_for(workshop: &Workshop, count: usize) -> Vec<String> {
    let since = Instant::now();
    loop {
        let found = runs(workshop);
        if found.len() >= count {
            return found;
        }
        assert!(since.elapsed() < WAIT_MAX, "{found:?}\n{}", log(workshop));
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn what_is_due_runs_and_is_listed() {
    let provider = Provider::start();
    provider.publish("/a.csv", &rows(10));
    let workshop = workshop(&provider, &["/a.csv", "/missing.csv"], "");
    workshop.write("pipelines/t/wrong.toml", "version = 1\n");
    let listed = workshop.hambar(&["schedule", "--list", "--format", "csv"]).ok();
    assert!(listed.contains("t.p0,") && listed.contains(",now,never"), "{listed}");
    let mut scheduling = Scheduling::start(&workshop, &[]);
    assert_eq!(wait_for(&workshop, 2), ["t.p0,committed", "t.p1,failed"]);
    assert_eq!(scheduling.stop(), Some(0));
    assert_eq!(workshop.value("SELECT count(*) FROM t.p0"), "10");
    assert_eq!(workshop.value("SELECT error_class FROM system.runs WHERE pipeline = 't.p1'"), "refused");
    let listed = workshop.hambar(&["schedule", "--list", "--format", "csv"]).ok();
    assert!(listed.contains("later,failed (refused) at"), "{listed}");
    assert!(listed.contains("-01-01 00:00:00 UTC,later,changed at"), "{listed}");
    let log = log(&workshop);
    assert!(log.contains("wrong.toml") && log.contains("run ended"), "{log}");
    assert_eq!(workshop.files("store/schedule").len(), 0);
    workshop.fsck();
}

#[test]
fn a_run_that_takes_too_long_is_stopped_and_recorded() {
    let provider = Provider::start();
    provider.offer("/slow.csv", Answer::ok(rows(1000)).trickle(1, Duration::from_millis(200)));
    let workshop = workshop(&provider, &["/slow.csv"], "run_seconds_max = 2");
    let mut scheduling = Scheduling::start(&workshop, &[]);
    assert_eq!(wait_for(&workshop, 1), ["t.p0,cancelled"]);
    assert_eq!(scheduling.stop(), Some(0));
    assert!(!workshop.hambar(&["sql", "SELECT count(*) FROM t.p0"]).stdout.contains("1000"));
}

#[test]
fn a_scheduler_that_is_told_to_stop_stops_its_runs_and_makes_up_for_them() {
    let provider = Provider::start();
    provider.offer("/slow.csv", Answer::ok(rows(1000)).trickle(1, Duration::from_millis(200)));
    let workshop = workshop(&provider, &["/slow.csv"], "");
    let mut scheduling = Scheduling::start(&workshop, &[]);
    let since = Instant::now();
    while provider.server().asked().is_empty() {
        assert!(since.elapsed() < WAIT_MAX, "nothing was asked for");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(scheduling.stop(), Some(0));
    assert_eq!(runs(&workshop), ["t.p0,cancelled"]);
    let listed = workshop.hambar(&["schedule", "--list", "--format", "csv"]).ok();
    assert!(listed.contains("cancelled at") && !listed.contains("-01-01 "), "{listed}");
}
