//! Many writers at once: nothing is lost, nothing doubled.

use std::sync::Arc;

use hambar_core::conformance::{load, show, spec};
use hambar_core::system::system_batch;
use hambar_core::{CommitOutcome, LeaseOutcome, SystemTable, TableStore, WriteMode};
use tempfile::TempDir;

use crate::support::{Reader, faulty, open_folder, over};

const WRITERS: usize = 16;
const COMMITS: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_writers_of_fifty_commits_lose_none() {
    let store = faulty();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let lake = over(Arc::clone(&store));
            tokio::spawn(async move {
                for number in 0..COMMITS {
                    let rows = system_batch(SystemTable::Runs, &[vec![("run", format!("{writer}-{number}").into())]]);
                    lake.append_system(SystemTable::Runs, rows).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let lake = over(store);
    let shown = show(&Reader(&lake), &"system.runs".parse().unwrap(), &["run"]).await;
    let mut expected: Vec<String> =
        (0..WRITERS).flat_map(|writer| (0..COMMITS).map(move |number| format!("{writer}-{number}"))).collect();
    expected.sort();
    assert_eq!(shown, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_runs_without_leases_end_with_each_row_once() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    let spec = spec("t", WriteMode::Append, &[], &[]);
    let racers: Vec<_> = [("BG", "left"), ("RO", "right")]
        .map(|(geo, side)| {
            let (path, spec) = (path.clone(), spec.clone());
            tokio::spawn(async move {
                let lake = open_folder(&path).await;
                let mut done = 0;
                let mut conflicts = 0;
                while done < 10 {
                    match load(&lake, &spec, &format!("{side}{done}"), side, &[(geo, done, None)]).await.unwrap() {
                        CommitOutcome::Committed { .. } => done += 1,
                        CommitOutcome::Conflict { .. } => conflicts += 1,
                        other => panic!("{other:?}"),
                    }
                }
                conflicts
            })
        })
        .into_iter()
        .collect();
    for racer in racers {
        racer.await.unwrap();
    }
    let lake = open_folder(&path).await;
    let expected: Vec<String> =
        ["BG", "RO"].iter().flat_map(|geo| (0..10).map(move |number| format!("{geo} {number}"))).collect();
    assert_eq!(show(&Reader(&lake), &spec.name, &["geo", "year"]).await, expected);
    assert_eq!(lake.open(&spec).await.unwrap().sequence, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_gets_the_lease() {
    let store = faulty();
    let name = spec("t", WriteMode::Append, &[], &[]).name;
    let seekers: Vec<_> = (0..8)
        .map(|number| {
            let (lake, name) = (over(Arc::clone(&store)), name.clone());
            tokio::spawn(async move { lake.lease(&name, &format!("s{number}")).await.unwrap() })
        })
        .collect();
    let mut held = Vec::new();
    for seeker in seekers {
        if let LeaseOutcome::Held(lease) = seeker.await.unwrap() {
            held.push(lease);
        }
    }
    assert_eq!(held.len(), 1);
}
