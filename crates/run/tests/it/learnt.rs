//! What a run keeps that changed nothing: the next one asks with the new validators, and no version is written for it.

use std::sync::Arc;

use hambar_run::{FaultPoint, UNCHANGED_FAULT_POINTS};

use crate::support::{Script, World};

use Script::{Pages, Tagged};

const SNAPSHOT: &str = "mode = \"snapshot\"\nkey = [\"key\"]";
const FIRST: &str = "committed 1: 2 rows, 0 revised, 0 withdrawn; received 2, rejected 0";

#[tokio::test]
async fn other_bytes_of_the_same_rows_are_fetched_once() {
    for write in [SNAPSHOT, "mode = \"upsert\"\nkey = [\"key\"]"] {
        let world = World::new(write);
        for (tag, body, expected, received) in [
            ("v1", "a,1\nb,2", FIRST, 2),
            ("v2", "b,2\na,1", "unchanged: content length", 2),
            ("v2", "b,2\na,1", "unchanged: unchanged: 304", 0),
            // The same bytes under another tag.
            ("v3", "b,2\na,1", "unchanged: unchanged: sha256", 0),
            ("v3", "b,2\na,1", "unchanged: unchanged: 304", 0),
        ] {
            world.script(&[("s", Tagged(tag, body))]);
            let report = world.run().await;
            assert_eq!((crate::support::said(&report).as_str(), report.rows_received), (expected, received), "{tag}");
            assert_eq!(report.warnings, Vec::<String>::new());
        }
        assert_eq!((world.table().state.version, world.table().state.sequence), (1, 1));
        // The next commit counts again, and what was learnt before it does not.
        world.script(&[("s", Tagged("v4", "a,1\nb,3"))]);
        assert_eq!(world.outcome().await, "committed 2: 1 rows, 1 revised, 0 withdrawn; received 2, rejected 0");
        world.script(&[("s", Tagged("v3", "a,1\nb,2"))]);
        assert_eq!(world.outcome().await, "committed 3: 1 rows, 1 revised, 0 withdrawn; received 2, rejected 0");
    }
}

#[tokio::test]
async fn appended_pages_with_a_new_tag_are_not_fetched_again() {
    let world = World::new("mode = \"append\"");
    for (tag, expected) in [("v1", FIRST), ("v2", "unchanged: unchanged: sha256"), ("v2", "unchanged: unchanged: 304")]
    {
        world.script(&[("s", Tagged(tag, "a,1\nb,2"))]);
        assert_eq!(world.outcome().await, expected);
    }
    assert_eq!(world.rows(), "a,1 b,2");
}

#[tokio::test]
async fn what_was_learnt_survives_a_commit_of_another_slice() {
    let world = World::new(SNAPSHOT);
    world.script(&[("s", Tagged("v1", "a,1")), ("t", Pages(vec!["b,1"], None))]);
    world.outcome().await;
    world.script(&[("s", Tagged("v2", "a,1\n")), ("t", Pages(vec!["b,1"], None))]);
    assert!(world.outcome().await.starts_with("unchanged"));
    world.script(&[("s", Tagged("v2", "a,1\n")), ("t", Pages(vec!["b,2"], None))]);
    assert_eq!(world.outcome().await, "committed 2: 1 rows, 1 revised, 0 withdrawn; received 2, rejected 0");
    world.script(&[("s", Tagged("v2", "a,1\n")), ("t", Pages(vec!["b,2"], None))]);
    assert_eq!(world.run().await.evidence, ["unchanged: 304", "unchanged: sha256"]);
}

#[tokio::test]
async fn a_declaration_that_gives_the_same_rows_is_tried_once() {
    let mut world = World::new(SNAPSHOT);
    world.script(&[("s", Tagged("v1", "a,1\nb,2"))]);
    world.outcome().await;
    world.pipeline.job.nulls.values.push("n/a".to_owned());
    assert_eq!(world.run().await.rows_received, 2, "the rows were derived again");
    let report = world.run().await;
    assert_eq!((report.outcome.name(), report.rows_received), ("unchanged", 0));
}

#[tokio::test]
async fn damaged_notes_are_a_warning_and_cost_one_download() {
    let world = World::new(SNAPSHOT);
    world.script(&[("s", Tagged("v1", "a,1\nb,2"))]);
    world.outcome().await;
    world.script(&[("s", Tagged("v2", "b,2\na,1"))]);
    world.outcome().await;
    let note = world.source.lock().unwrap().raw.0.path().join("runs+a.b+verified");
    std::fs::write(note, "{").unwrap();
    let report = world.run().await;
    assert_eq!((report.outcome.name(), report.rows_received), ("unchanged", 2));
    assert!(report.warnings[0].starts_with("`runs/a.b/verified` is damaged"), "{:?}", report.warnings);
    assert_eq!(world.outcome().await, "unchanged: unchanged: 304", "it was kept again");
}

/// Ends the run's task at one stop.
#[derive(Debug)]
struct DiesAt(&'static str);

impl FaultPoint for DiesAt {
    fn reached(&self, point: &'static str) {
        assert_ne!(point, self.0);
    }
}

#[tokio::test]
async fn a_run_may_die_around_keeping_what_it_learnt() {
    for point in UNCHANGED_FAULT_POINTS {
        let world = World::new(SNAPSHOT);
        world.script(&[("s", Tagged("v1", "a,1\nb,2"))]);
        world.outcome().await;
        world.script(&[("s", Tagged("v2", "b,2\na,1"))]);
        let mut runner = world.runner.clone();
        runner.faults = Arc::new(DiesAt(point));
        let pipeline = world.pipeline.clone();
        let died = tokio::spawn(async move { runner.run(&pipeline, &Default::default()).await }).await;
        assert!(died.is_err_and(|error| error.is_panic()), "{point}");
        world.store.0.lock().unwrap().is_leased = false;
        let expected =
            if point == "before_verified" { "unchanged: content length" } else { "unchanged: unchanged: 304" };
        assert_eq!(world.outcome().await, expected, "{point}");
        assert_eq!(world.outcome().await, "unchanged: unchanged: 304", "{point}");
        assert_eq!((world.rows().as_str(), world.table().state.version), ("a,1 b,2", 1), "{point}");
    }
}
