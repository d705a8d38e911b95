//! The rest of the recorded exchanges through the binary: whole answers are committed, partial ones refused, files of
//! every kind pulled, and what is no table refused in words. What `recorded.rs` covers is not repeated.

use hambar_testkit::evil_http::Answer;
use serde_json::Value;

use crate::recorded::{Recorded, body, check, json, pipeline};
use crate::support::{Provider, Workshop, shared};

/// One answer of a paged interface, read as if it were everything.
fn whole(base: &str, path: &str, records: &str, total: &str) -> String {
    // Braces would be a template's; recorded addresses have none.
    format!(
        "kind = \"rest_json\"\nurl = \"{base}{path}\"\nrecord_path = \"{records}\"\n[source.complete]\ntotal = \"{total}\""
    )
}

/// Runs a page of many that is taken for everything: nothing may be published.
#[track_caller]
fn refused(workshop: &Workshop, number: usize, source: &str, column: &str, texts: &[&str]) {
    let table = format!("partial.t{number}");
    workshop.pipeline(&table, &pipeline(source, "kind = \"json\"", &[column], 1));
    workshop.hambar(&["run", &table]).fails(13, &[&["nothing was published"], texts].concat());
}

#[test]
fn crossrefs_lists_are_committed_or_refused() {
    let Some(data) = shared() else { return };
    let recorded = Recorded::start(&data.join("crossref-recorded"));
    let (base, items, total) = (recorded.base(), "/message/items", "/message/total-results");
    let journal = whole(&base, "/types?query=journal", items, total);
    check("crossref.kinds", &pipeline(&journal, "kind = \"json\"", &["id", "label"], 1), 30);
    let sample = whole(&base, "/works?sample=10", items, total);
    check("crossref.sample", &pipeline(&sample, "kind = \"json\"", &["DOI", "publisher"], 1), 10);
    let workshop = Workshop::new();
    for (number, (path, column, total_of, came)) in [
        ("/funders?rows=2", "id", "45700", "2"),
        ("/journals?rows=1", "title", "166675", "1"),
        ("/journals/1803-2427/works", "DOI", "49", "20"),
        ("/licenses?query=aps", "URL", "114", "20"),
        ("/members?rows=2", "id", "32762", "2"),
        ("/members/98/works", "DOI", "138567", "20"),
        ("/prefixes/10.1371/works", "DOI", "4913582", "20"),
        ("/types/journal-article/works", "DOI", "122326186", "20"),
        ("/works?query=ecology&select=DOI%2Ctitle", "DOI", "586628", "20"),
    ]
    .into_iter()
    .enumerate()
    {
        refused(&workshop, number, &whole(&base, path, items, total), column, &[total_of, came]);
    }
    // Errors of the interface come with words and the class of a refusal.
    for (path, text) in [("/works/10.1371/notarealdoi", "404"), ("/funders?rows=things", "400")] {
        workshop
            .pipeline("crossref.wrong", &pipeline(&whole(&base, path, items, total), "kind = \"json\"", &["id"], 1));
        workshop.hambar(&["run", "crossref.wrong"]).fails(12, &[text]);
    }
}

#[test]
fn noaas_climate_data_are_committed_or_refused() {
    let Some(data) = shared() else { return };
    let recorded = Recorded::start(&data.join("noaa/recorded"));
    let (base, total) = (recorded.base(), "/metadata/resultset/count");
    let rain = "/cdo-web/api/v2/data?datasetid=GHCND&startdate=2013-09-03&enddate=2013-09-30&limit=30&includemetadata=TRUE&stationid=GHCND%3AUSC00200230&datatypeid=PRCP";
    let source = whole(&base, rain, "/results", total);
    let workshop = check("noaa.rain", &pipeline(&source, "kind = \"json\"", &["date", "station", "value"], 2), 28);
    let sum = "SELECT count(*) FROM noaa.rain WHERE station = 'GHCND:USC00200230'";
    assert_eq!(workshop.value(sum), "28");
    let source = whole(&base, "/cdo-web/api/v2/datasets?limit=25", "/results", total);
    check("noaa.datasets", &pipeline(&source, "kind = \"json\"", &["id", "name"], 1), 11);
    let workshop = Workshop::new();
    for (number, (path, column, texts)) in [
        ("/cdo-web/api/v2/datacategories?limit=25", "id", ["42", "25"]),
        ("/cdo-web/api/v2/datatypes?limit=25&datasetid=ANNUAL", "id", ["594", "25"]),
    ]
    .into_iter()
    .enumerate()
    {
        refused(&workshop, number, &whole(&base, path, "/results", total), column, &texts);
    }
    // What is no table: a web page, XML that no connector reads, an address that is gone.
    for path in [
        "/thredds/catalog/data/adcp2/catalog.html",
        "/swdiws/xml/warn/20060505:20060506/25",
        "/data/local-climatological-data/access/1945/02413099999.csv",
    ] {
        let ran = workshop.hambar(&["pull", &format!("{base}{path}"), "--table", "scratch.x"]);
        assert!(ran.code().is_some_and(|code| code != 0 && code != 70 && code != 101), "{path}: {:?}", ran.code());
        assert!(ran.stderr.starts_with("error: ") && !ran.stderr.contains("panicked"), "{path}: {}", ran.stderr);
    }
}

#[test]
fn zenodos_records_and_files_are_committed() {
    let Some(data) = shared() else { return };
    let recorded = Recorded::start(&data.join("zenodo-recorded"));
    let base = recorded.base();
    let page = format!("{base}/api/records/?q=creators.name%3A%22FD+Tester%22&all_versions=True");
    let source = format!(
        "kind = \"rest_json\"\nurl = \"{page}\"\nrecord_path = \"/hits/hits\"\n[source.pagination]\nstyle = \"link_header\"\n\
         [source.complete]\ntotal = \"/hits/total\""
    );
    check("zenodo.records", &pipeline(&source, "kind = \"json\"", &["id", "doi"], 1), 7);
    let files = "/api/files/86e806c9-baff-418d-9456-7720f23486d5";
    let workshop = Workshop::new();
    for (number, (path, rows)) in [
        ("/api/files/2b1e077b-bec9-4d5d-8550-d48b7c6e2132/capitals.csv".to_owned(), "5"),
        ("/api/files/bc520c46-ee9e-4245-8c57-2a7203062e14/data2.csv".to_owned(), "3"),
        ("/api/files/bc520c46-ee9e-4245-8c57-2a7203062e14/data.csv".to_owned(), "2"),
        ("/api/files/cd516e5f-4452-4aab-b00d-9fd2e1d83c6e/address3.csv.zip".to_owned(), "2"),
        ("/api/files/2411d44f-20cc-44f7-a0da-1d1c295a4ee4/table.xls".to_owned(), "2"),
        (format!("{files}/table.jsonl"), "2"),
        (format!("{files}/table.ndjson"), "2"),
        (format!("{files}/table.ods"), "2"),
        (format!("{files}/table.xlsx"), "2"),
        (format!("{files}/table.xls"), "2"),
        (format!("{files}/table.tsv"), "3"),
    ]
    .into_iter()
    .enumerate()
    {
        let table = format!("scratch.t{number}");
        workshop.hambar(&["pull", &format!("{base}{path}"), "--table", &table]).ok();
        assert_eq!(workshop.value(&format!("SELECT count(*) FROM {table}")), rows, "{path}");
    }
    let gone = format!("{base}/api/records/68358988");
    workshop.hambar(&["pull", &gone, "--table", "scratch.gone"]).fails(12, &["404"]);
    workshop.fsck();
}

#[test]
fn files_with_long_cells_and_damaged_documents_are_told_apart() {
    let Some(data) = shared() else { return };
    let recorded = Recorded::start(&data.join("http-files-recorded"));
    let base = recorded.base();
    let workshop = Workshop::new();
    let events =
        "/roll/56b91d7d998c4df2d4b4aeeefc18cab5/raw/a7a577cd30139b3396151d43ba245ac94d8ddf53/tabulator-issue-305.csv";
    workshop.hambar(&["pull", &format!("{base}{events}"), "--table", "scratch.events"]).ok();
    let master = "/frictionlessdata/frictionless-py/master/data";
    assert_eq!(workshop.value("SELECT count(*) FROM scratch.events"), "343");
    assert_eq!(workshop.value("SELECT count(DISTINCT data_id) FROM scratch.events"), "343");
    workshop
        .hambar(&["pull", &format!("{base}{master}/package.zip"), "--member", "data.csv", "--table", "scratch.zip"])
        .ok();
    assert_eq!(workshop.value("SELECT count(*) FROM scratch.zip"), "2");
    let ran = workshop.hambar(&["pull", &format!("{base}{master}/invalid.json"), "--table", "scratch.bad"]);
    assert!(ran.code().is_some_and(|code| code != 0 && code != 70), "{}", ran.stderr);
    let gone = format!("{base}{master}/bad.json");
    workshop.hambar(&["pull", &gone, "--table", "scratch.gone"]).fails(12, &["404"]);
}

#[test]
fn every_recorded_structure_of_the_imf_is_committed() {
    let Some(data) = shared() else { return };
    let folder = data.join("sdmx/imf-sdmx3-recorded");
    let recorded = Recorded::start(&folder);
    let imf = format!("kind = \"sdmx\"\ndialect = \"imf\"\nendpoint = \"{}/external/sdmx/3.0\"\n", recorded.base());
    let workshop = Workshop::new();
    let mut count = 0;
    for line in std::fs::read_to_string(folder.join("replay.jsonl")).unwrap().lines() {
        let exchange: Value = serde_json::from_str(line).unwrap();
        let url = exchange["url"].as_str().unwrap();
        let Some((_, rest)) = url.split_once("/structure/") else { continue };
        let parts: Vec<&str> = rest.split('/').collect();
        let [resource, agency, id, _] = parts.as_slice() else { panic!("{url}") };
        if exchange["status"] == 204 {
            continue;
        }
        let file = folder.join(exchange["body_file"].as_str().unwrap());
        let document = json(&file);
        let structures = document["data"].as_object().unwrap();
        let items = |list: &str, member: &str| -> usize {
            let lists = structures.get(list).and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
            lists.iter().map(|one| one[member].as_array().map_or(0, Vec::len)).sum()
        };
        let expected = match *resource {
            "codelist" => items("codelists", "codes"),
            "conceptscheme" => items("conceptSchemes", "concepts"),
            _ => 0,
        };
        let source = format!("{imf}resource = \"{resource}\"\nflow = {{ agency = \"{agency}\", id = \"{id}\" }}");
        let columns = ["artefact", "agency", "id", "version", "role", "code", "lang", "label"];
        let table = format!("imf.t{count}");
        workshop.pipeline(&table, &pipeline(&source, "kind = \"sdmx_json\"", &columns, 7));
        workshop.run(&table);
        let rows: usize = workshop.value(&format!("SELECT count(*) FROM {table}")).parse().unwrap();
        assert!(rows > 0, "{url}");
        if expected > 0 {
            // One request may bring lists of several agencies and versions.
            let each = "agency || ':' || id || ':' || version || ':' || code";
            let sql = format!("SELECT count(DISTINCT {each}) FROM {table} WHERE role = 'code'");
            assert_eq!(workshop.value(&sql), expected.to_string(), "{url}");
        }
        count += 1;
    }
    assert_eq!(count, 35);
    let source = format!("{imf}flow = {{ agency = \"IMF.WHD\", id = \"WHDREO\" }}\nkey = \"GX1213.BCA_GDP_BP6.A\"");
    let text = pipeline(&source, "kind = \"sdmx_json\"", &["TIME_PERIOD", "OBS_VALUE"], 1);
    workshop.pipeline("imf.whdreo", &text);
    workshop.run("imf.whdreo");
    let observed: usize = json(&folder.join("bodies/0023.json"))["data"]["dataSets"][0]["series"]
        .as_object()
        .unwrap()
        .values()
        .map(|series| series["observations"].as_object().unwrap().len())
        .sum();
    assert_eq!(workshop.value("SELECT count(*) FROM imf.whdreo"), observed.to_string());
}

#[test]
fn a_portals_catalogue_and_datastore_are_committed() {
    let Some(data) = shared() else { return };
    let folder = data.join("ckan/dados-gov-br-recorded");
    // Bodies are kept as they came, most of them compressed.
    let recorded = |number: usize| {
        let names = [format!("bodies/{number:04}.json"), format!("bodies/{number:04}.json.gz")];
        body(&names.map(|name| folder.join(name)).into_iter().find(|path| path.exists()).unwrap())
    };
    let provider = Provider::start();
    let offer = |target: &str, text: String| {
        provider.offer(target, Answer::ok(text).header("content-type", "application/json"));
    };
    let portal = provider.url("");
    offer("/api/3/action/package_search", recorded(5));
    let catalogue = format!("kind = \"ckan\"\nportal = \"{portal}\"\nread = \"datasets\"");
    let text = pipeline(&catalogue, "kind = \"json\"", &["id", "name", "license_id"], 1);
    let workshop = check("ckan.catalogue", &text, 6);
    assert_eq!(workshop.value("SELECT count(*) FROM ckan.catalogue WHERE license_id = 'cc-by'"), "6");
    // 13,786 datasets announced, and the same ten again and again: nothing of it is believed.
    offer("/api/3/action/package_search", recorded(1));
    workshop.hambar(&["run", "ckan.catalogue"]).fails(13, &["nothing was published"]);
    assert_eq!(workshop.value("SELECT count(*) FROM ckan.catalogue"), "6");
    for (number, resource, rows) in [
        (20, "711069ae-b409-4584-843a-3d6f5a47e129", 2),
        (27, "f7e2f51f-aae9-4eb1-8519-3c86c8750007", 4),
        (50, "f99f2621-2136-451b-afef-a1eeb2e66f87", 2),
        (65, "66cac6ef-c56d-41ae-b245-c381f50d15e9", 1),
    ] {
        offer("/api/3/action/datastore_search", recorded(number));
        let source =
            format!("kind = \"ckan\"\nportal = \"{portal}\"\nread = \"datastore\"\nresource_id = \"{resource}\"");
        check(
            "ckan.store",
            &pipeline(&source, "kind = \"json\"", &["_id"], 1)
                .replace("\"_id\"\nsource", "\"number\"\nsource")
                .replace("key = [\"_id\"]", "key = [\"number\"]"),
            rows,
        );
    }
}
