//! `hambar add`: what an address speaks is recognised from one answer, told with reasons, and the file that is written
//! collects everything the provider has.

use hambar_testkit::evil_http::Answer;
use serde_json::Value;

use crate::recorded::{Recorded, body, json};
use crate::support::{Provider, Workshop, shared};

const GIVEN: [&str; 4] = ["--licence", "CC-BY-4.0", "--redistribution", "allowed"];

/// Adds an address, checks what was said and what is in the file, and runs it.
#[track_caller]
fn added(workshop: &Workshop, url: &str, table: &str, said: &[&str], lines: &[&str]) -> String {
    let output = workshop.hambar(&[&["add", url, "--table", table], GIVEN.as_slice()].concat()).ok();
    for text in said {
        assert!(output.contains(text), "`{text}` is not in:\n{output}");
    }
    let file = workshop.path().join(format!("pipelines/{}.toml", table.replace('.', "/")));
    let text = std::fs::read_to_string(file).unwrap();
    for line in lines {
        assert!(text.lines().any(|found| found == *line), "`{line}` is not in:\n{text}");
    }
    assert!(output.contains(&format!("review it, then: hambar run {table}")), "{output}");
    workshop.run(table)
}

fn json_answer(text: impl Into<String>) -> Answer {
    Answer::ok(text.into()).header("content-type", "application/json")
}

#[test]
fn the_world_banks_pages_are_followed_to_the_last() {
    let Some(data) = shared() else { return };
    let rows = json(&data.join("worldbank/api-v2-rows/wb-country-indicator.json"));
    let rows = rows.as_array().unwrap();
    let provider = Provider::start();
    let target = "/v2/country/all/indicator/NY.GDP.PCAP.CD";
    let pages: Vec<&[Value]> = rows.chunks(50).collect();
    for (index, page) in pages.iter().enumerate() {
        // The rows were recorded without their envelope.
        let envelope = serde_json::json!({
            "page": index + 1, "pages": pages.len(), "per_page": "50", "total": rows.len(), "sourceid": "2",
            "lastupdated": "2024-05-30",
        });
        let answer = serde_json::json!([envelope, page]).to_string();
        provider.offer(&format!("{target}?format=json&page={}&per_page=50", index + 1), json_answer(answer.clone()));
        if index == 0 {
            provider.offer(&format!("{target}?format=json"), json_answer(answer));
        }
    }
    let workshop = Workshop::new();
    let total = rows.len();
    let ran = added(
        &workshop,
        &provider.url(&format!("{target}?format=json")),
        "wb.gdp",
        &[
            "says that this is page 1",
            &format!("`/0/total` announces {total} records"),
            "`/0/lastupdated` dates the data",
        ],
        &["style = \"page_number\"", "size_parameter = \"per_page\"", "total = \"/0/total\"", "pages = \"/0/pages\""],
    );
    assert!(ran.contains(&format!("{total} rows new or changed")), "{ran}");
    assert!(workshop.run("wb.gdp").contains("unchanged"));
    // The same in one command, for a look.
    let url = provider.url(&format!("{target}?format=json"));
    workshop.hambar(&["pull", &url, "--table", "scratch.gdp"]).ok();
    assert_eq!(workshop.value("SELECT count(*) FROM scratch.gdp"), total.to_string());
    workshop.fsck();
}

#[test]
fn a_data_query_becomes_an_sdmx_source() {
    let Some(data) = shared() else { return };
    let folder = data.join("sdmx/recorded-nsi-ws");
    let recorded = Recorded::start(&folder);
    let workshop = Workshop::new();
    let url = format!("{}/SDMXWS/rest/data/47_850/A.001001+001002.AUTP.ALL.ALL.1", recorded.base());
    let observed = body(&folder.join("bodies/0002.xml")).matches("<generic:Obs>").count();
    let ran = added(
        &workshop,
        &url,
        "istat.libraries",
        &["an SDMX 2.1 data query", "dataflow `47_850`", "its key is `A.001001+001002.AUTP.ALL.ALL.1`"],
        &["kind = \"sdmx\"", "flow = { id = \"47_850\" }", "key = \"A.001001+001002.AUTP.ALL.ALL.1\""],
    );
    assert!(ran.contains(&format!("{observed} rows new or changed")), "{ran}");
    let imf = Recorded::start(&data.join("sdmx/imf-sdmx3-recorded"));
    let query = "/external/sdmx/3.0/data/dataflow/IMF.WHD/WHDREO/+/GX1213.BCA_GDP_BP6.A?dimensionAtObservation=TIME_PERIOD&attributes=dsd&measures=all";
    let output = workshop.hambar(&["add", &format!("{}{query}", imf.base())]).ok();
    let text =
        std::fs::read_to_string(workshop.files("pipelines").iter().find(|file| file.ends_with("whdreo.toml")).unwrap())
            .unwrap();
    for part in
        ["version = \"3.0\"", "flow = { agency = \"IMF.WHD\", id = \"WHDREO\" }", "key = \"GX1213.BCA_GDP_BP6.A\""]
    {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    assert!(output.contains("before it can run:") && output.contains("licence"), "{output}");
}

/// A portal that answers as recorded, under its own address.
fn portal(data: &std::path::Path) -> Provider {
    let folder = data.join("ckan/dados-gov-br-recorded/bodies");
    let provider = Provider::start();
    let package = body(&folder.join("0008.json")).replace("http://localhost:5000", &provider.url(""));
    let dataset: Value = serde_json::from_str(&package).unwrap();
    let search = serde_json::json!({ "success": true, "result": { "count": 1, "results": [dataset["result"]] } });
    provider.offer("/api/3/action/package_show", json_answer(package));
    provider.offer("/api/3/action/package_search", json_answer(search.to_string()));
    let files = "/dataset/1b26c9fe-1869-4999-954f-0f276d4bea02/resource";
    for (resource, file) in [
        ("5de110e5-6ef9-4282-9866-9201a0014dea/download/___", "0009"),
        ("a42c84cc-bd76-4906-902d-f641090bce63/download/table.ods", "0010.ods"),
        ("ed8a53d8-f01f-4bb6-8070-c4acad70791d/download/___", "0011"),
    ] {
        let found = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let path =
            found.into_iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with(file)).unwrap();
        provider.offer(&format!("{files}/{resource}"), Answer::ok(std::fs::read(path).unwrap()));
    }
    provider
}

#[test]
fn a_dataset_of_a_portal_is_recognised_and_its_resource_chosen() {
    let Some(data) = shared() else { return };
    let provider = portal(&data);
    let workshop = Workshop::new();
    let page = provider.url("/dataset/dataset-example");
    let several =
        ["several resources; choose one with --resource", "a42c84cc-bd76-4906-902d-f641090bce63  ODS  Table ODS"];
    workshop.hambar(&["add", &page]).fails(2, &several);
    workshop.hambar(&["add", &page, "--resource", "nobody"]).fails(2, &["has no resource `nobody`"]);
    let one = provider.url("/dataset/dataset-example/resource/a42c84cc-bd76-4906-902d-f641090bce63");
    let ran = added(
        &workshop,
        &one,
        "ckan.capitals",
        &["is a CKAN portal: it knows the dataset `dataset-example`", "its resource `Table ODS` (ODS) is a file at"],
        &[
            "kind = \"ckan\"",
            "read = \"files\"",
            "dataset = \"dataset-example\"",
            "resource = { id = \"a42c84cc-bd76-4906-902d-f641090bce63\" }",
            "# The portal says nothing about the licence.",
        ],
    );
    assert!(ran.contains("2 rows new or changed"), "{ran}");
    assert_eq!(workshop.rows("SELECT name FROM ckan.capitals"), ["english", "中国人"]);
}

#[test]
fn a_portal_is_registered_with_its_catalogue_and_resources() {
    let Some(data) = shared() else { return };
    let provider = portal(&data);
    let workshop = Workshop::new();
    let listed = workshop.hambar(&["add", "portal", &provider.url("")]).ok();
    for text in ["1 dataset, 4 resources listed:", "dataset-example  Table ODS", "the catalogue as a table, 1 dataset"]
    {
        assert!(listed.contains(text), "`{text}` is not in:\n{listed}");
    }
    assert_eq!(workshop.files("pipelines").len(), 1);
    // The catalogue's own pipeline lacks the licence that only a person can give.
    let checked = workshop.hambar(&["check"]);
    assert_eq!(checked.code(), Some(2));
    let said = format!("{}{}", checked.stdout, checked.stderr);
    assert!(said.contains("`origin.licence` is empty") && said.contains("1 problem in 1 file"), "{said}");
    let url = provider.url("");
    let arguments = [
        "add",
        "portal",
        &url,
        "--format",
        "ods",
        "--all",
        "--namespace",
        "capitals",
        "--licence",
        "CC0-1.0",
        "--force",
    ];
    let said = workshop.hambar(&arguments).ok();
    assert!(said.contains("1 dataset, 1 resource listed:"), "{said}");
    workshop.run("capitals.datasets");
    assert_eq!(workshop.rows("SELECT name, num_resources FROM capitals.datasets"), ["dataset-example,4"]);
    workshop.run("capitals.dataset_example_table_ods");
    assert_eq!(workshop.value("SELECT count(*) FROM capitals.dataset_example_table_ods"), "2");
    // A resource that cannot be read does not keep the others from being registered.
    let arguments =
        ["add", "portal", &url, "--dataset", "dataset-example", "--namespace", "all", "--licence", "CC0-1.0"];
    let ran = workshop.hambar(&arguments);
    assert!(ran.stdout.contains("pipelines/all/dataset_example_table_xls.toml"), "{}\n{}", ran.stdout, ran.stderr);
    let missing = "error: resource `7e02c313-ccd9-493b-90ae-6d05692d0207` of `dataset-example`:";
    assert_ne!(ran.code(), Some(0));
    assert!(ran.stderr.contains(missing), "{}", ran.stderr);
    workshop
        .hambar(&["add", "portal", &url, "--resource", "nobody", "--force"])
        .fails(2, &["lists no resource `nobody`"]);
}

#[test]
fn a_datastore_is_asked_page_by_page() {
    let Some(data) = shared() else { return };
    let provider = Provider::start();
    let bodies = data.join("ckan/dados-gov-br-recorded/bodies");
    let recorded = ["0020.json", "0020.json.gz"].map(|name| bodies.join(name)).into_iter().find(|path| path.exists());
    let recorded = body(&recorded.unwrap());
    provider.offer("/api/3/action/datastore_search", json_answer(recorded));
    let workshop = Workshop::new();
    let url = provider.url("/api/3/action/datastore_search?resource_id=711069ae-b409-4584-843a-3d6f5a47e129&limit=5");
    let ran = added(
        &workshop,
        &url,
        "ckan.store",
        &["is a table of its datastore"],
        &[
            "read = \"datastore\"",
            "resource_id = \"711069ae-b409-4584-843a-3d6f5a47e129\"",
            "record_path = \"/result/records\"",
        ],
    );
    assert!(ran.contains("2 rows new or changed"), "{ran}");
}

#[test]
fn what_only_looks_like_a_portal_is_read_as_what_it_is() {
    let provider = Provider::start();
    provider.publish("/dataset/rain", "id,mm\n1,2\n2,3\n");
    let workshop = Workshop::new();
    let url = provider.url("/dataset/rain");
    let said = ["the answer is one file of kind", "key: id (unique in this answer)", "required: id"];
    let ran = added(&workshop, &url, "test.rain", &said, &["kind = \"http_file\"", "required = true"]);
    assert!(ran.contains("2 rows new or changed"), "{ran}");
}

#[test]
fn crossrefs_cursor_is_recognised() {
    let Some(data) = shared() else { return };
    let recorded = Recorded::start(&data.join("crossref-recorded"));
    let workshop = Workshop::new();
    let url = format!("{}/works?query=widget&cursor=*", recorded.base());
    let arguments = [&["add", &url, "--table", "crossref.widgets"], GIVEN.as_slice()].concat();
    let said = workshop.hambar(&arguments).ok();
    assert!(said.contains("is a cursor; the parameter `cursor` takes it back"), "{said}");
    let text = std::fs::read_to_string(workshop.path().join("pipelines/crossref/widgets.toml")).unwrap();
    for line in [
        "cursor = \"/message/next-cursor\"",
        "first = \"*\"",
        "end = \"empty_page\"",
        "total = \"/message/total-results\"",
    ] {
        assert!(text.contains(line), "`{line}` is not in:\n{text}");
    }
    // Twenty of forty-five thousand, and no way to the rest: that is said, and a run refuses.
    let url = format!("{}/funders?rows=2", recorded.base());
    let arguments = [&["add", &url, "--table", "crossref.funders"], GIVEN.as_slice()].concat();
    let said = workshop.hambar(&arguments).ok();
    assert!(said.contains("beware: 45700 records are announced and 2 came"), "{said}");
    workshop.hambar(&["run", "crossref.funders"]).fails(13, &["45700"]);
}

#[test]
fn an_answer_without_rows_is_no_data() {
    let (provider, workshop) = (Provider::start(), Workshop::new());
    provider.publish("/header.csv", "id,value\n");
    provider.publish("/list.json", "[]");
    workshop.hambar(&["pull", &provider.url("/list.json"), "--table", "scratch.none"]).fails(2, &["it has no records"]);
    let said = workshop.hambar(&["pull", &provider.url("/header.csv"), "--table", "scratch.none"]);
    said.fails(13, &["2 columns (`id`, `value`) and no rows, class incomplete; nothing was stored", "hambar add"]);
    assert!(workshop.files("store/tables").is_empty());
}
