//! The lake on a real S3 server: the stores' contract, racing writers, maintenance, and the refusal of a server that
//! ignores conditions.

use std::collections::BTreeMap;
use std::sync::Arc;

use hambar_core::conformance::{self, load, show, spec};
use hambar_core::{CommitOutcome, StoreError, TableStore, WriteMode};
use hambar_lake::{Access, Lake, OPTION_CA_CERTIFICATES};
use hambar_testkit::s3_server::{CA_PEM, Conditions, S3Server};

use crate::support::{Reader, StillClock, TestLake};

async fn open(url: &str, options: &BTreeMap<String, String>) -> Result<Lake, StoreError> {
    Lake::open(url, options, Access::ReadWrite, Arc::new(StillClock)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lake_in_s3_keeps_the_contract() {
    let server = S3Server::start(Conditions::Kept).await;
    let mut number = 0;
    conformance::all(async || {
        number += 1;
        TestLake::of(open(&server.url(&format!("lake{number}")), &server.options()).await.unwrap())
    })
    .await;
    assert!(server.conditional_writes() > 20, "commits are conditional writes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_writers_in_s3_end_with_each_row_once() {
    let server = S3Server::start(Conditions::Kept).await;
    let spec = spec("t", WriteMode::Append, &[], &[]);
    let racers = [("BG", "left"), ("RO", "right")].map(|(geo, side)| {
        let (url, options, spec) = (server.url("race"), server.options(), spec.clone());
        tokio::spawn(async move {
            let lake = open(&url, &options).await.unwrap();
            let mut done = 0;
            while done < 8 {
                match load(&lake, &spec, &format!("{side}{done}"), side, &[(geo, done, None)]).await.unwrap() {
                    CommitOutcome::Committed { .. } => done += 1,
                    CommitOutcome::Conflict { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        })
    });
    for racer in racers {
        racer.await.unwrap();
    }
    let lake = open(&server.url("race"), &server.options()).await.unwrap();
    let expected: Vec<String> =
        ["BG", "RO"].iter().flat_map(|geo| (0..8).map(move |number| format!("{geo} {number}"))).collect();
    assert_eq!(show(&Reader(&lake), &spec.name, &["geo", "year"]).await, expected);
    assert_eq!(lake.open(&spec).await.unwrap().sequence, 16);

    let optimized = lake.optimize(&spec.name).await.unwrap();
    assert_eq!((optimized.files_removed, optimized.files_added, optimized.rows), (16, 1, 16));
    assert_eq!(show(&Reader(&lake), &spec.name, &["geo", "year"]).await, expected);
    let fresh = open(&server.url("race"), &server.options()).await.unwrap();
    let report = fresh.check(&spec.name).await.unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!(report.rows, 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ignores_conditions_is_refused() {
    let server = S3Server::start(Conditions::Ignored).await;
    let refused = open(&server.url("lake"), &server.options()).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unfit { what, .. } if what.contains("If-None-Match")), "{refused}");
    assert_eq!(server.conditional_writes(), 2);
    let reader = Lake::open(&server.url("lake"), &server.options(), Access::ReadOnly, Arc::new(StillClock)).await;
    assert!(reader.is_ok(), "reading needs no conditions: {reader:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_keys_are_refused_and_named() {
    let server = S3Server::start(Conditions::Kept).await;
    let mut options = server.options();
    options.insert("secret_access_key".to_owned(), "wrong".to_owned());
    let refused = open(&server.url("lake"), &options).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unfit { .. }), "{refused}");
    assert!(!format!("{refused:?}").contains("wrong"), "keys are not shown: {refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_tls_is_trusted_through_its_authority() {
    let server = S3Server::start_tls(Conditions::Kept).await;
    let refused = open(&server.url("lake"), &server.options()).await.unwrap_err();
    assert!(hambar_core::Chain(&refused).to_string().contains("certificate"), "{refused:?}");
    let mut options = server.options();
    options.insert(OPTION_CA_CERTIFICATES.to_owned(), CA_PEM.to_owned());
    let lake = open(&server.url("lake"), &options).await.unwrap();
    let spec = spec("t", WriteMode::Append, &[], &["geo"]);
    let _ = load(&lake, &spec, "r", "a", &[("ä/ö", 1, None), ("BG", 1, None)]).await.unwrap();
    assert_eq!(show(&Reader(&lake), &spec.name, &["geo"]).await, ["BG", "ä/ö"]);
    options.insert(OPTION_CA_CERTIFICATES.to_owned(), "nothing".to_owned());
    let refused = open(&server.url("lake"), &options).await.unwrap_err();
    assert!(refused.to_string().contains("holds none"), "{refused}");
}

#[tokio::test]
async fn unknown_options_and_kinds_of_stores_are_refused() {
    let options = BTreeMap::from([("regoin".to_owned(), "eu".to_owned())]);
    let refused = open("s3://bucket/lake", &options).await.unwrap_err();
    assert!(refused.to_string().contains("`regoin` is not an option"), "{refused}");
    let refused = open("ftp://bucket/lake", &BTreeMap::new()).await.unwrap_err();
    assert!(refused.to_string().contains("`ftp` is not a kind of store"), "{refused}");
}
