//! What is made up for, what is tried again and when, as `hambar schedule --list` says it and as it then happens.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hambar_testkit::evil_http::{Answer, Cut};
use jiff::Timestamp;
use jiff::civil::DateTime;

use super::{Scheduling, WAIT_MAX, log, reschedule, rows, runs, settled, wait_for, workshop};
use crate::support::{Provider, Workshop, now};

/// When each job is due, by `schedule --list`.
fn due(workshop: &Workshop) -> BTreeMap<String, Timestamp> {
    let listed = workshop.hambar(&["schedule", "--list", "--format", "csv"]).ok();
    let instant = |text: &str| {
        let text = text.strip_suffix(" UTC").unwrap_or_else(|| panic!("{listed}"));
        let time: DateTime = text.parse().unwrap_or_else(|_| panic!("{listed}"));
        time.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp()
    };
    let line = |line: &str| {
        let mut cells = line.split(',');
        (cells.next().unwrap().to_owned(), instant(cells.next().unwrap()))
    };
    listed.lines().skip(1).map(line).collect()
}

fn this_instant() -> Timestamp {
    now().parse().unwrap()
}

#[test]
fn weather_is_tried_again_and_what_a_person_must_mend_is_not() {
    let provider = Provider::start();
    provider.offer("/transient.csv", Answer::status(503, "down"));
    provider.offer("/quota.csv", Answer::status(429, "slowly").header("retry-after", "86400"));
    provider.offer("/incomplete.csv", Answer::ok(rows(1000)).cut_at(50, Cut::Fin));
    provider.publish("/drift.csv", "id,other\n1,2\n");
    let targets = ["/transient.csv", "/quota.csv", "/incomplete.csv", "/drift.csv", "/refused.csv"];
    let workshop = workshop(&provider, &targets, "runs_max = 5");
    let mut scheduling = Scheduling::start(&workshop, &[]);
    let found = wait_for(&workshop, targets.len());
    assert!(found.iter().all(|run| run.ends_with(",failed")), "{found:?}");
    let classes = workshop.rows("SELECT pipeline, error_class FROM system.runs");
    assert_eq!(classes[0], "t.p0,transient");
    assert_eq!(classes[1], "t.p1,quota");
    assert_eq!(classes[3..], ["t.p3,drift", "t.p4,refused"]);
    let due = due(&workshop);
    let minutes = |table: &str| this_instant().duration_until(due[table]).as_secs_f64() / 60.0;
    assert!((0.0..1.3).contains(&minutes("t.p0")), "{due:?}");
    assert!((13.0..18.1).contains(&minutes("t.p1")), "{due:?}");
    let half_way = if classes[2] == "t.p2,incomplete" { 8.0..12.1 } else { 0.0..1.3 };
    assert!(half_way.contains(&minutes("t.p2")), "{classes:?} {due:?}");
    for table in ["t.p3", "t.p4"] {
        assert!(due[table].to_string().ends_with("-01-01T00:00:00Z"), "{due:?}");
    }
    // The provider is up again; the second attempt comes by itself.
    provider.publish("/transient.csv", &rows(10));
    let since = Instant::now();
    while !runs(&workshop).contains(&"t.p0,committed".to_owned()) {
        assert!(since.elapsed() < WAIT_MAX, "{}", log(&workshop));
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(scheduling.stop(), Some(0));
    settled(&workshop);
}

#[test]
fn a_missed_time_is_made_up_for_once_and_another_is_let_go() {
    let provider = Provider::start();
    provider.publish("/a.csv", &rows(10));
    let workshop = workshop(&provider, &["/a.csv", "/a.csv", "/a.csv"], "");
    // One that has never run is due at once, unless it lets times go.
    reschedule(&workshop, "t.p1", "cron = \"0 0 1 1 *\"\ncatch_up = \"skip\"");
    reschedule(&workshop, "t.p2", "cron = \"* * * * *\"");
    workshop.run("t.p2");
    // Nobody is up when the minute turns.
    let second = this_instant().as_second() % 60;
    std::thread::sleep(Duration::from_secs(u64::try_from(61 - second).unwrap()));
    let came_up = Instant::now();
    let mut scheduling = Scheduling::start(&workshop, &[]);
    let found = wait_for(&workshop, 3);
    assert_eq!(found, ["t.p0,committed", "t.p2,committed", "t.p2,unchanged"], "{}", log(&workshop));
    assert!(came_up.elapsed() < Duration::from_secs(50), "that was the next minute's");
    let due = due(&workshop);
    assert!(due["t.p1"].to_string().ends_with("-01-01T00:00:00Z"), "{due:?}");
    assert_eq!(scheduling.stop(), Some(0));
    settled(&workshop);
}
