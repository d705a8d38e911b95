//! Death of runs, of schedulers, and of both: nothing is lost, doubled or forgotten.

use std::time::{Duration, Instant};

use hambar_testkit::evil_http::Answer;
use nix::sys::signal::{Signal, kill};

use super::{Scheduling, WAIT_MAX, log, reschedule, rows, runs, settled, wait_for, workshop};
use crate::support::{Provider, setting};

/// Schedulers that are killed in an ordinary test run.
const DEATHS: u32 = 6;

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
    assert_eq!(second.stop(), Some(0));
    settled(&workshop);
    for index in 0..targets.len() {
        assert_eq!(workshop.value(&format!("SELECT count(*) FROM t.p{index}")), "10");
    }
}

/// Numbers that differ from run to run of the tests; each is told, so that it can be tried again.
pub(super) fn dice(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed | 1;
    move |sides| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % sides
    }
}

#[test]
fn nothing_is_lost_or_doubled_when_schedulers_and_runs_are_killed_again_and_again() {
    let provider = Provider::start();
    let targets = ["/0.csv", "/1.csv", "/2.csv", "/3.csv"];
    for target in targets {
        provider.offer(target, Answer::ok(rows(10)).trickle(4, Duration::from_millis(60)));
    }
    let workshop = workshop(&provider, &targets, "");
    let seed = setting("HAMBAR_TEST_SEED").map_or_else(|| u64::from(std::process::id()), |text| text.parse().unwrap());
    println!("HAMBAR_TEST_SEED={seed}");
    let mut dice = dice(seed);
    let deaths = if setting("HAMBAR_TEST_LONG").is_some() { 10 * DEATHS } else { DEATHS };
    for _ in 0..deaths {
        let mut scheduling = Scheduling::start(&workshop, &[]);
        std::thread::sleep(Duration::from_millis(100 + dice(1900)));
        let children = scheduling.children();
        match dice(3) {
            // Runs die, and a little later the scheduler that may be recording it.
            0 => {
                for child in children {
                    let _ = kill(child, Signal::SIGKILL);
                }
                std::thread::sleep(Duration::from_millis(dice(300)));
                scheduling.kill();
            }
            // All die together, as with the machine.
            1 => {
                scheduling.kill();
                for child in children {
                    let _ = kill(child, Signal::SIGKILL);
                }
            }
            // Runs go on without their scheduler.
            _ => scheduling.kill(),
        }
    }
    // Runs that died are tried again after ten minutes at the earliest: a year's schedule becomes one of each minute.
    for index in 0..targets.len() {
        reschedule(&workshop, &format!("t.p{index}"), "cron = \"* * * * *\"");
    }
    let mut last = Scheduling::start(&workshop, &[]);
    let since = Instant::now();
    let is_over = |found: &[String]| {
        (0..targets.len()).all(|index| {
            let is_right =
                |run: &String| *run == format!("t.p{index},committed") || *run == format!("t.p{index},unchanged");
            found.iter().any(is_right)
        })
    };
    loop {
        let found = runs(&workshop);
        if is_over(&found) && workshop.files("store/schedule").is_empty() {
            break;
        }
        assert!(since.elapsed() < WAIT_MAX, "{found:?}\n{}", log(&workshop));
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(last.stop(), Some(0));
    settled(&workshop);
    for index in 0..targets.len() {
        assert_eq!(workshop.value(&format!("SELECT count(*), count(DISTINCT id) FROM t.p{index}")), "10,10");
    }
    workshop.fsck();
}

#[test]
fn a_server_and_a_scheduler_look_after_one_store_and_outlive_each_other() {
    let provider = Provider::start();
    let targets = ["/0.csv", "/1.csv", "/2.csv"];
    for target in targets {
        // Two seconds each.
        provider.offer(target, Answer::ok(rows(10)).trickle(4, Duration::from_millis(150)));
    }
    let workshop = workshop(&provider, &targets, "runs_max = 1");
    reschedule(&workshop, "t.p1", "adaptive = { shortest_minutes = 60 }");
    reschedule(&workshop, "t.p2", "cron = \"0 3 * * 1\"\ntimezone = \"Europe/Sofia\"\npriority = \"low\"");
    let mut server = Scheduling::serve(&workshop);
    let since = Instant::now();
    let at_work_on = |count: usize| {
        while provider.server().asked().len() < count {
            assert!(since.elapsed() < WAIT_MAX, "{}", log(&workshop));
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    at_work_on(1);
    let mut scheduler = Scheduling::start(&workshop, &[]);
    // In the middle of the first run, which goes on alone; the other one takes over and waits for it.
    server.kill();
    assert_eq!(wait_for(&workshop, 1), ["t.p0,committed"]);
    let mut server = Scheduling::serve(&workshop);
    at_work_on(2);
    scheduler.kill();
    assert_eq!(wait_for(&workshop, 3), ["t.p0,committed", "t.p1,committed", "t.p2,committed"]);
    let mut scheduler = Scheduling::start(&workshop, &[]);
    std::thread::sleep(Duration::from_secs(2));
    // Whoever leads goes first; nothing is due any more.
    assert_eq!(server.stop(), Some(0), "{}", log(&workshop));
    assert_eq!(scheduler.stop(), Some(0), "{}", log(&workshop));
    assert_eq!(runs(&workshop).len(), 3);
    settled(&workshop);
    workshop.fsck();
}
