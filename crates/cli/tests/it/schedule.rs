//! `hambar schedule` as it is used: pipelines that are due run as processes, whatever ends these or the scheduler leaves
//! exactly one row of each, and of two schedulers on one store one works.

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
        let log = std::fs::File::options().create(true).append(true).open(workshop.path().join("log.txt")).unwrap();
        let mut command = workshop.command(&["schedule"]);
        command.envs(environment.iter().copied());
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// Ends it as an operator does; returns its exit code.
    fn stop(&mut self) -> Option<i32> {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), Signal::SIGTERM).unwrap();
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
        let log = std::fs::read_to_string(workshop.path().join("log.txt")).unwrap_or_default();
        assert!(since.elapsed() < WAIT_MAX, "{found:?}\n{log}");
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
    assert!(listed.contains("-01-01 00:00:00 UTC,later,Changed at"), "{listed}");
    let log = std::fs::read_to_string(workshop.path().join("log.txt")).unwrap();
    assert!(log.contains("wrong.toml") && log.contains("run ended"), "{log}");
    assert_eq!(workshop.files("store/schedule").len(), 0);
    workshop.fsck();
}

#[test]
fn a_run_that_dies_at_any_stop_has_one_row_and_its_data_once() {
    for point in ["after_lease", "after_decode", "before_commit", "after_commit", "before_report", "after_report"] {
        let provider = Provider::start();
        provider.publish("/a.csv", &rows(10));
        let workshop = workshop(&provider, &["/a.csv"], "");
        let mut scheduling = Scheduling::start(&workshop, &[("HAMBAR_FAULT_POINT", point)]);
        let expected = if point == "after_report" { "t.p0,committed" } else { "t.p0,failed" };
        assert_eq!(wait_for(&workshop, 1), [expected], "{point}");
        assert_eq!(scheduling.stop(), Some(0), "{point}");
        if expected == "t.p0,failed" {
            let error = workshop.value("SELECT error_class || ' ' || error FROM system.runs");
            assert!(error.starts_with("internal the process of the run was ended by signal 6"), "{point}: {error}");
        }
        workshop.run("t.p0");
        assert_eq!(workshop.value("SELECT count(*), count(DISTINCT id) FROM t.p0"), "10,10", "{point}");
    }
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
    assert!(listed.contains("Cancelled at") && !listed.contains("-01-01 "), "{listed}");
}

#[test]
fn of_two_schedulers_one_works_and_the_other_takes_over_what_is_left() {
    let provider = Provider::start();
    let targets = ["/0.csv", "/1.csv", "/2.csv", "/3.csv", "/4.csv", "/5.csv"];
    for target in targets {
        // A second and a half each.
        provider.offer(target, Answer::ok(rows(10)).trickle(4, Duration::from_millis(100)));
    }
    let workshop = workshop(&provider, &targets, "runs_max = 1");
    let mut first = Scheduling::start(&workshop, &[]);
    wait_for(&workshop, 1);
    let mut second = Scheduling::start(&workshop, &[]);
    wait_for(&workshop, 2);
    // It may have a run under way, which goes on without it.
    first.kill();
    let found = wait_for(&workshop, targets.len());
    let expected: Vec<String> = (0..targets.len()).map(|index| format!("t.p{index},committed")).collect();
    assert_eq!(found, expected);
    let overlaps = "SELECT count(*) FROM system.runs a JOIN system.runs b ON a.pipeline = b.pipeline AND a.run <> b.run \
        AND a.started_at <= b.finished_at AND b.started_at <= a.finished_at";
    assert_eq!(workshop.value(overlaps), "0");
    assert_eq!(second.stop(), Some(0));
    assert_eq!(workshop.files("store/schedule").len(), 0);
    for index in 0..targets.len() {
        assert_eq!(workshop.value(&format!("SELECT count(*) FROM t.p{index}")), "10");
    }
}

#[test]
fn nothing_is_lost_or_doubled_when_schedulers_are_killed_again_and_again() {
    let provider = Provider::start();
    let targets = ["/0.csv", "/1.csv", "/2.csv", "/3.csv"];
    for target in targets {
        provider.offer(target, Answer::ok(rows(10)).trickle(4, Duration::from_millis(60)));
    }
    let workshop = workshop(&provider, &targets, "");
    // Milliseconds after which each scheduler dies.
    for delay in [150, 400, 700, 1000, 1300, 600] {
        let mut scheduling = Scheduling::start(&workshop, &[]);
        std::thread::sleep(Duration::from_millis(delay));
        scheduling.kill();
    }
    let mut last = Scheduling::start(&workshop, &[]);
    let since = Instant::now();
    loop {
        let found = runs(&workshop);
        let committed = found.iter().filter(|run| run.ends_with(",committed")).count();
        if committed == targets.len() && workshop.files("store/schedule").is_empty() {
            break;
        }
        assert!(since.elapsed() < WAIT_MAX, "{found:?}");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(last.stop(), Some(0));
    for index in 0..targets.len() {
        assert_eq!(workshop.value(&format!("SELECT count(*), count(DISTINCT id) FROM t.p{index}")), "10,10");
    }
    runs(&workshop);
    workshop.fsck();
}
