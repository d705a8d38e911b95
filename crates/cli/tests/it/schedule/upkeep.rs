//! Compaction, checkpoints and vacuum by schedule, beside readers and writers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Scheduling, WAIT_MAX, log, rows, workshop};
use crate::support::{Provider, Workshop, now};

/// Versions of a table before anybody looks after it; each adds a file or more.
const VERSIONS: u64 = 6;

/// What is recorded of upkeep.
fn recorded(workshop: &Workshop) -> Vec<String> {
    workshop.rows("SELECT DISTINCT pipeline, outcome FROM system.runs WHERE pipeline IN ('optimize', 'vacuum')")
}

#[test]
fn tables_are_looked_after_while_they_are_read_and_written() {
    let provider = Provider::start();
    let workshop = workshop(&provider, &["/a.csv", "/b.csv"], "");
    for version in 1..=VERSIONS {
        for target in ["/a.csv", "/b.csv"] {
            provider.publish(target, &rows(100 * version));
        }
        workshop.run("t.p0");
        workshop.run("t.p1");
    }
    let then = now();
    let files = || workshop.value("SELECT count(*) FROM system.maintenance WHERE action = 'optimize'");
    let settings = std::fs::read_to_string(workshop.path().join("hambar.toml")).unwrap();
    let settings =
        settings.replace("optimize = \"\"\nvacuum = \"\"", "optimize = \"* * * * *\"\nvacuum = \"* * * * *\"");
    workshop.write("hambar.toml", &settings);
    let sum = |count: u64| (0..count).map(|id| id * 7).sum::<u64>();
    let expected = format!("{},{}", 100 * VERSIONS, sum(100 * VERSIONS));
    let (is_over, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut scheduling = Scheduling::start(&workshop, &[]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                // The table as it is, which nobody writes, and another as it was, which somebody does.
                for from in ["t.p0", &format!("t.p1 FOR SYSTEM_TIME AS OF '{then}'")] {
                    let found = workshop.value(&format!("SELECT count(*), sum(value) FROM {from}"));
                    assert_eq!(found, expected, "{from}");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let since = Instant::now();
        let mut version = VERSIONS;
        loop {
            version += 1;
            provider.publish("/b.csv", &rows(100 * version));
            let ran = workshop.hambar(&["run", "t.p1"]);
            // Upkeep may have the table for a moment; then this run is told so, and nothing is lost.
            assert!(ran.code() == Some(0) || ran.stderr.contains("has been at work since"), "{}", ran.stderr);
            if recorded(&workshop) == ["optimize,done", "vacuum,done"] {
                break;
            }
            if since.elapsed() > WAIT_MAX {
                is_over.store(true, Ordering::Relaxed);
                panic!("{:?}\n{}", recorded(&workshop), log(&workshop));
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(scheduling.stop(), Some(0));
    assert!(reads.load(Ordering::Relaxed) > 4);
    assert_ne!(files(), "0");
    assert_eq!(workshop.files("store/schedule").len(), 0);
    workshop.fsck();
}
