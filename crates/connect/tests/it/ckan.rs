//! CKAN: the catalogue, files of a dataset, the datastore; scripted and as recorded.

use hambar_connect::ckan::list_datasets;
use hambar_connect::conformance;
use hambar_core::Checkpoint;

use crate::memory::{Answer, Memory, build, check, run, told};

const API: &str = "https://c.org/api/3/action";

#[tokio::test]
async fn catalogues_are_counted() {
    let source =
        "kind = \"ckan\"\nportal = \"https://c.org/\"\nread = \"datasets\"\nfilter = \"organization:x\"\npage_size = 1";
    let page = |start: u64| format!("{API}/package_search?fq=organization%3Ax&sort=id+asc&start={start}&rows=1");
    let memory = Memory::new()
        .json(&page(0), r#"{"success":true,"result":{"count":2,"results":[{"id":"a"}]}}"#)
        .json(&page(1), r#"{"success":true,"result":{"count":2,"results":[{"id":"b"}]}}"#);
    let built = build(source, "kind = \"json\"");
    let found = conformance::check(built.as_ref(), &memory.fetcher()).await.unwrap();
    assert_eq!((found.records, found.evidence[0].as_str()), (2, "total 2 of 2 in 2 pages"));
    assert_eq!(found.unchanged, [Some("sha256".to_owned())]);
    let failing = Memory::new()
        .json(&page(0), r#"{"success":false,"error":{"message":"search is down","__type":"Search Error"}}"#);
    check(source, &failing, &format!("refused: `{}` reports Search Error: search is down", page(0))).await;
}

#[tokio::test]
async fn datastores_are_read_beyond_their_cap() {
    let source =
        "kind = \"ckan\"\nportal = \"https://c.org\"\nread = \"datastore\"\nresource_id = \"r-1\"\npage_size = 2\n";
    let page = |offset: u64| format!("{API}/datastore_search?resource_id=r-1&sort=_id&offset={offset}&limit=2");
    let memory = Memory::new()
        .json(&page(0), r#"{"success":true,"result":{"total":3,"records":[{"_id":1},{"_id":2}]}}"#)
        .json(&page(2), r#"{"success":true,"result":{"total":3,"records":[{"_id":3}]}}"#);
    let built = build(source, "kind = \"json\"");
    let found = run(built.as_ref(), &memory, &mut Checkpoint::default()).await;
    assert!(found.ends_with("end: total 3 of 3 in 2 pages\n"), "{found}");
    let sql =
        |clause: &str| format!("{API}/datastore_search_sql?sql=SELECT+*+FROM+%22r-1%22{clause}+ORDER+BY+_id+LIMIT+2");
    let memory = Memory::new()
        .json(&format!("{API}/datastore_search?resource_id=r-1&limit=0"), r#"{"success":true,"result":{"total":3}}"#)
        .json(&format!("{API}/datastore_search?limit=0&resource_id=r-1"), r#"{"success":true,"result":{"total":3}}"#)
        .json(&sql(""), r#"{"success":true,"result":{"records":[{"_id":1},{"_id":2}]}}"#)
        .json(&sql("+WHERE+_id+%3E+2"), r#"{"success":true,"result":{"records":[{"_id":3}]}}"#);
    let built = build(&format!("{source}paging = \"keyset\""), "kind = \"json\"");
    let found = run(built.as_ref(), &memory, &mut Checkpoint::default()).await;
    assert!(found.ends_with("end: total 3 of 3 in 2 pages\n"), "{found} {:?}", memory.requests());
}

#[tokio::test]
async fn resources_are_chosen_and_verified() {
    let package = r#"{"success":true,"result":{"id":"d","name":"d","resources":[
        {"id":"1","name":"Table 2024","format":"CSV","url":"https://f.org/1.csv","last_modified":"2024-01-01","hash":"e1f0f8ab7c1d04b7a3cbc9f6c0a8a3d1"},
        {"id":"2","name":"Notes","format":"PDF","url":"https://f.org/2.pdf","last_modified":null,"hash":null}]}}"#;
    let memory = Memory::new()
        .json(&format!("{API}/package_show?id=d"), package)
        .on("https://f.org/1.csv", Answer::new("a\n1\n"));
    let base = "kind = \"ckan\"\nportal = \"https://c.org\"\nread = \"files\"\ndataset = \"d\"\n";
    for (more, expected) in [
        (
            "resource = { format = \"csv\" }",
            "incomplete: `https://f.org/1.csv` is incomplete: md5 e1f0f8ab7c1d04b7a3cbc9f6c0a8a3d1 announced",
        ),
        (
            "resource = { pattern = \"2024\" }\nverify_hash = false",
            "page resource_id=1 resource_name=Table 2024 a 1\nend: 4 bytes",
        ),
        (
            "resource = { name = \"Tables\" }",
            "plan: data: answer of `https://c.org/api/3/action/package_show?id=d`: no resource fits `source.resource`; there are: Table 2024 (CSV), Notes (PDF)",
        ),
    ] {
        let built = build(&format!("{base}{more}"), "kind = \"csv\"");
        let found = run(built.as_ref(), &memory, &mut Checkpoint::default()).await;
        assert!(found.starts_with(expected), "{found}");
    }
}

#[tokio::test]
async fn listings_are_compared_with_their_count() {
    let page = |start: u64| format!("{API}/package_search?sort=id+asc&rows=1000&start={start}");
    let memory = Memory::new()
        .json(&page(0), r#"{"success":true,"result":{"count":2,"results":[{"id":"a","title":"A","resources":[{"id":"r","size":12,"format":"CSV"}]}]}}"#)
        .json(&page(1), r#"{"success":true,"result":{"count":2,"results":[{"id":"b","title":null}]}}"#);
    let datasets = list_datasets("https://c.org", None, &memory.fetcher()).await.unwrap();
    assert_eq!((datasets.len(), datasets[0].resources[0].format.as_str()), (2, "CSV"));
    let repeated = Memory::new()
        .json(&page(0), r#"{"success":true,"result":{"count":2,"results":[{"id":"a"}]}}"#)
        .json(&page(1), r#"{"success":true,"result":{"count":2,"results":[{"id":"a"}]}}"#);
    let error = list_datasets("https://c.org", None, &repeated.fetcher()).await.unwrap_err();
    assert!(told(&error).contains("repeats"), "{error}");
    let cut = Memory::new()
        .json(&page(0), r#"{"success":true,"result":{"count":2,"results":[{"id":"a"}]}}"#)
        .json(&page(1), r#"{"success":true,"result":{"count":2,"results":[]}}"#);
    let error = list_datasets("https://c.org", None, &cut.fetcher()).await.unwrap_err();
    assert!(told(&error).contains("2 datasets announced, 1 datasets received"), "{error}");
}

#[tokio::test]
async fn recorded_portals_are_read() {
    let Some(memory) = Memory::recorded("ckan/dados-gov-br-recorded") else { return };
    let source = |dataset: &str| {
        format!(
            "kind = \"ckan\"\nportal = \"https://legado.dados.gov.br/\"\nread = \"files\"\ndataset = \"{dataset}\"\nresource = {{ format = \"zzz\" }}"
        )
    };
    for (dataset, expected) in
        [("bolsa-familia-pagamentos", "no resource fits `source.resource`; there are: "), ("no-dataset", "refused")]
    {
        let built = build(&source(dataset), "kind = \"csv\"");
        let found = run(built.as_ref(), &memory, &mut Checkpoint::default()).await;
        assert!(found.contains(expected), "{found}");
    }
}
