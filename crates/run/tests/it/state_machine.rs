//! What becomes of a run: every outcome, from a scripted source through real frames to a store in memory.

use hambar_core::{Position, SystemTable};
use tokio_util::sync::CancellationToken;

use crate::support::{MemoryStore, Script, World, said};

use Script::{Fails, Hangs, NoProof, NotModified, Pages};

const SNAPSHOT: &str = "mode = \"snapshot\"\nkey = [\"key\"]";

/// Runs the scripts one after the other and compares what each run says.
async fn check(write: &str, runs: &[(&[(&'static str, Script)], &str)], rows: &str) -> World {
    let world = World::new(write);
    for (script, expected) in runs {
        world.script(script);
        assert_eq!(world.outcome().await, *expected, "{script:?}");
    }
    assert_eq!(world.rows(), rows);
    assert_eq!(world.system_rows(SystemTable::Runs), runs.len(), "every run leaves a row");
    assert!(!world.store.0.lock().unwrap().is_leased, "no run keeps the lease");
    world
}

#[tokio::test]
async fn a_refresh_commits_what_changed_and_nothing_when_nothing_did() {
    let world = check(
        SNAPSHOT,
        &[
            (
                &[("s", Pages(vec!["a,1\nb,2"], Some(2)))],
                "committed 1: 2 rows, 0 revised, 0 withdrawn; received 2, rejected 0",
            ),
            (&[("s", Pages(vec!["a,1\nb,2"], Some(2)))], "unchanged: unchanged: sha256"),
            (&[("s", NotModified(vec![]))], "unchanged: unchanged: 304"),
            (
                &[("s", Pages(vec!["a,1\nb,3"], None))],
                "committed 2: 1 rows, 1 revised, 0 withdrawn; received 2, rejected 0",
            ),
            (
                &[("s", Pages(vec!["b,3", "c,4"], None))],
                "committed 3: 1 rows, 0 revised, 1 withdrawn; received 2, rejected 0",
            ),
        ],
        "b,3 c,4",
    )
    .await;
    assert_eq!(world.system_rows(SystemTable::Datasets), 1, "the declaration is recorded once");
    for point in hambar_run::FAULT_POINTS {
        assert!(world.faults.0.lock().unwrap().contains(point), "{point}");
    }
}

#[tokio::test]
async fn what_is_not_proven_complete_is_not_published() {
    check(
        SNAPSHOT,
        &[
            (&[("s", Pages(vec!["a,1"], None))], "committed 1: 1 rows, 0 revised, 0 withdrawn; received 1, rejected 0"),
            (
                &[("s", Pages(vec!["a,2", "b,2"], Some(3)))],
                "failed (incomplete): slice `s` is incomplete: 3 records announced, 2 decoded",
            ),
            (&[("s", Pages(vec![""], None))], "failed (incomplete): slice `s` is empty: it had 1 records before"),
            (&[("s", Pages(vec![], None))], "failed (incomplete): slice `s` is empty: it had 1 records before"),
            (&[("s", NoProof("a,2"))], "failed (incomplete): slice `s` ended without a proof that it is complete"),
            (&[], "failed (incomplete): the source has no slices: it had 1 records before"),
            (&[("s", Fails)], "failed (refused): read slice `s`: get it: no recorded exchange answers GET `http://x/`"),
            (
                &[("s", Pages(vec!["a,2\nDIE"], None))],
                "failed (data): decode page 1 of slice `s`, `http://x/`: decode worker ended early: failed to fill whole buffer",
            ),
        ],
        "a,1",
    )
    .await;
}

#[tokio::test]
async fn an_empty_answer_withdraws_everything_only_where_the_file_allows_it() {
    check(
        "mode = \"snapshot\"\nkey = [\"key\"]\nallow_empty = true",
        &[
            (&[("s", Pages(vec!["a,1"], None))], "committed 1: 1 rows, 0 revised, 0 withdrawn; received 1, rejected 0"),
            (&[("s", Pages(vec![""], None))], "committed 2: 0 rows, 0 revised, 1 withdrawn; received 0, rejected 0"),
        ],
        "",
    )
    .await;
}

#[tokio::test]
async fn unchanged_slices_beside_changed_ones_are_read_from_raw_bytes() {
    let world = World::new(SNAPSHOT);
    world.script(&[("s", Pages(vec!["a,1"], None)), ("t", Pages(vec!["b,1"], None)), ("u", Pages(vec!["c,1"], None))]);
    world.outcome().await;
    world.reads();
    world.script(&[("s", NotModified(vec![])), ("t", Pages(vec!["b,2"], None)), ("u", Pages(vec!["c,1"], None))]);
    assert_eq!(world.outcome().await, "committed 2: 1 rows, 1 revised, 0 withdrawn; received 3, rejected 0");
    assert_eq!((world.rows(), world.reads()), ("a,1 b,2 c,1".to_owned(), "s t u".to_owned()));
    // A slice that the source no longer has takes its rows with it.
    world.script(&[("s", NotModified(vec![])), ("u", NotModified(vec![]))]);
    assert_eq!(world.outcome().await, "committed 3: 0 rows, 0 revised, 1 withdrawn; received 2, rejected 0");
    assert_eq!((world.rows(), world.reads()), ("a,1 c,1".to_owned(), "s u".to_owned()));
}

#[tokio::test]
async fn unchanged_slices_without_raw_bytes_are_fetched_again() {
    let world = World::new(SNAPSHOT);
    world.script(&[("s", NotModified(vec!["a,1"])), ("t", Pages(vec!["b,1"], None))]);
    world.outcome().await;
    world.reads();
    let folder = world.source.lock().unwrap().raw.0.path().to_owned();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.to_string_lossy().contains('+') {
            std::fs::remove_file(path).unwrap();
        }
    }
    world.script(&[("s", NotModified(vec!["a,1"])), ("t", Pages(vec!["b,2"], None))]);
    assert_eq!(world.outcome().await, "committed 2: 1 rows, 1 revised, 0 withdrawn; received 2, rejected 0");
    assert_eq!((world.rows(), world.reads()), ("a,1 b,2".to_owned(), "s t s t s".to_owned()));
}

#[tokio::test]
async fn appended_rows_come_once_however_often_the_same_pages_come() {
    let two_pages: Vec<&'static str> = vec!["a,1", "b,1"];
    check(
        "mode = \"append\"",
        &[
            (
                &[("s", Pages(two_pages.clone(), None))],
                "committed 1: 2 rows, 0 revised, 0 withdrawn; received 2, rejected 0",
            ),
            (&[("s", Pages(two_pages.clone(), None))], "unchanged: unchanged: sha256"),
            (
                &[("s", Pages(two_pages, None)), ("t", Pages(vec!["c,1"], None))],
                "committed 2: 1 rows, 0 revised, 0 withdrawn; received 1, rejected 0",
            ),
        ],
        "a,1 b,1 c,1",
    )
    .await;
}

#[tokio::test]
async fn a_snapshot_needs_a_source_that_brings_everything() {
    let world = World::new(SNAPSHOT);
    world.source.lock().unwrap().is_full = false;
    assert!(
        world.outcome().await.starts_with("failed (config): mode `snapshot` needs a source that brings everything")
    );
}

#[tokio::test]
async fn a_slice_that_moves_on_without_news_is_committed_once() {
    let world = World::new("mode = \"upsert\"\nkey = [\"key\"]");
    let at = |text: &str| world.source.lock().unwrap().position = Position::At(text.into());
    at("2024");
    world.script(&[("s", Pages(vec!["a,1"], None))]);
    world.outcome().await;
    at("2025");
    world.script(&[("s", Pages(vec![""], None))]);
    assert_eq!(world.outcome().await, "committed 2: 0 rows, 0 revised, 0 withdrawn; received 0, rejected 0");
    let slice = |world: &World| world.table().state.checkpoint.slices.values().next().unwrap().position.clone();
    assert_eq!(slice(&world), Position::At("2025".into()));
    assert_eq!(world.outcome().await, "unchanged: unchanged: sha256", "it stands where it stood");
    at("2026");
    world.script(&[("s", Pages(vec!["b,1"], None))]);
    assert_eq!(world.outcome().await, "committed 3: 1 rows, 0 revised, 0 withdrawn; received 1, rejected 0");
    assert_eq!((world.rows().as_str(), slice(&world)), ("a,1 b,1", Position::At("2026".into())));
}

#[tokio::test]
async fn rejects_are_kept_and_too_many_fail_the_run() {
    check(
        "mode = \"snapshot\"\nrejects_max = 1",
        &[
            (
                &[("s", Pages(vec!["a,1\n!x"], Some(2)))],
                "committed 1: 1 rows, 0 revised, 0 withdrawn; received 2, rejected 1",
            ),
            (&[("s", Pages(vec!["a,2\n!x", "!y"], None))], "failed (data): 2 records rejected, more than 1"),
        ],
        "a,1",
    )
    .await;
}

#[tokio::test]
async fn a_slice_of_nothing_but_rejects_withdraws_nothing() {
    let broken = "failed (data): all records of slice `s` were rejected (2); the first: record 1: `!`";
    for rows in [Pages(vec!["!x\n!y"], None), Pages(vec!["!x", "!y"], Some(2))] {
        check(
            SNAPSHOT,
            &[
                (&[("s", rows.clone())], broken),
                (
                    &[("s", Pages(vec!["a,1"], None))],
                    "committed 1: 1 rows, 0 revised, 0 withdrawn; received 1, rejected 0",
                ),
                (&[("s", rows)], broken),
            ],
            "a,1",
        )
        .await;
    }
}

#[tokio::test]
async fn added_columns_join_the_table_even_after_rows_without_them() {
    let world = World::new("mode = \"snapshot\"\nkey = [\"key\"]\non_drift = \"add_columns\"");
    world.script(&[("s", Pages(vec!["a,1", "+note\nb,2,hello"], None))]);
    let report = world.run().await;
    assert_eq!(said(&report), "committed 1: 2 rows, 0 revised, 0 withdrawn; received 2, rejected 0");
    assert_eq!((world.rows().as_str(), report.drift.added.as_slice()), ("a,1,- b,2,hello", &["note".to_owned()][..]));
}

#[tokio::test]
async fn columns_that_nobody_declared_never_slip_in() {
    let world = World::new(SNAPSHOT);
    world.script(&[("s", Pages(vec!["+note\nb,2,hello"], None))]);
    assert_eq!(world.outcome().await, "failed (internal): rows of slice `s`: columns that are not declared");
}

#[tokio::test]
async fn a_busy_table_and_a_lost_race_are_outcomes() {
    let world = World::new(SNAPSHOT);
    world.script(&[("s", Pages(vec!["a,1"], None))]);
    world.store.0.lock().unwrap().is_leased = true;
    assert_eq!(world.outcome().await, "busy");
    world.store.0.lock().unwrap().is_leased = false;
    world.store.0.lock().unwrap().winner = Some("r2".to_owned());
    assert_eq!(world.outcome().await, "conflict with r2");
    assert_eq!(world.rows(), "");
    assert_eq!(world.system_rows(SystemTable::Runs), 2);
}

#[tokio::test]
async fn a_cancelled_run_publishes_nothing_and_says_so() {
    let world = World::new(SNAPSHOT);
    world.script(&[("s", Pages(vec!["a,1"], None)), ("t", Hangs)]);
    let cancel = CancellationToken::new();
    let (report, ()) = tokio::join!(world.runner.run(&world.pipeline, &cancel), async {
        while !world.faults.0.lock().unwrap().contains("after_write") {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    });
    assert_eq!((said(&report).as_str(), world.rows().as_str()), ("cancelled", ""));
    assert_eq!(world.system_rows(SystemTable::Runs), 1);
    assert!(!world.store.0.lock().unwrap().is_leased);
}

#[tokio::test]
async fn many_pages_with_few_workers_come_in_order() {
    let world = World::new("mode = \"append\"");
    let pages: Vec<&'static str> = vec!["a,1", "b,1", "c,1", "d,1", "e,1", "f,1", "g,1", "h,1", "i,1"];
    world.script(&[("s", Pages(pages.clone(), Some(9))), ("t", Pages(vec!["z,1"], None))]);
    assert_eq!(world.outcome().await, "committed 1: 10 rows, 0 revised, 0 withdrawn; received 10, rejected 0");
    assert_eq!(world.rows(), format!("{} z,1", pages.join(" ")));
}

#[tokio::test]
async fn raw_bytes_give_the_table_again() {
    let world = World::new(SNAPSHOT);
    for body in ["a,1\nb,1", "a,2\nb,1", "a,2\nc,1"] {
        world.script(&[("s", Pages(vec![body], None))]);
        world.outcome().await;
    }
    world.script(&[]);
    world.reads();
    let replayed = world.runner.replay(&world.pipeline, &CancellationToken::new()).await.unwrap();
    assert_eq!(said(&replayed), "unchanged: raw bytes: content length");
    // Somebody damaged the table: the same bytes mend it.
    world.store.0.lock().unwrap().tables.get_mut(&world.pipeline.name).unwrap().rows.clear();
    let replayed = world.runner.replay(&world.pipeline, &CancellationToken::new()).await.unwrap();
    assert_eq!(said(&replayed), "committed 4: 2 rows, 0 revised, 0 withdrawn; received 2, rejected 0");

    let fresh = MemoryStore::default();
    let store = std::sync::Arc::new(fresh.clone());
    let rebuilt = world.runner.rebuild(&world.pipeline, store, &CancellationToken::new()).await.unwrap();
    let ends: Vec<String> = rebuilt.runs.iter().map(said).collect();
    assert_eq!(
        ends,
        [
            "committed 1: 2 rows, 0 revised, 0 withdrawn; received 2, rejected 0",
            "committed 2: 1 rows, 1 revised, 0 withdrawn; received 2, rejected 0",
            "committed 3: 1 rows, 0 revised, 1 withdrawn; received 2, rejected 0",
            "unchanged: raw bytes: raw bytes: content length",
        ]
    );
    assert_eq!(fresh.0.lock().unwrap().tables[&world.pipeline.name].rows, world.table().rows);
    assert_eq!(world.reads(), "", "nothing was asked of the source");
}

#[tokio::test]
async fn a_changed_declaration_reads_unchanged_bytes_again() {
    let mut world = World::new(SNAPSHOT);
    world.script(&[("s", NotModified(vec!["a,1"]))]);
    world.outcome().await;
    assert_eq!(world.outcome().await, "unchanged: unchanged: 304");
    world.pipeline.job.nulls.values.push("n/a".to_owned());
    let report = world.run().await;
    assert_eq!((report.outcome.name(), report.rows_received), ("unchanged", 1), "the rows were derived again");
}
