//! The lake keeps the contract of stores, in a folder and in an object store.

use hambar_core::conformance;

use crate::support::TestLake;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lake_in_a_folder_keeps_the_contract() {
    conformance::all(TestLake::in_folder).await;
}

#[tokio::test]
async fn a_lake_in_an_object_store_keeps_the_contract() {
    conformance::all(TestLake::in_memory).await;
}
