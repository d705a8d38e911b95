//! Recorded exchanges of real providers through `hambar run`: the rows that they announced are committed, and asked
//! for again they are unchanged.

use std::io::Read;
use std::path::{Path, PathBuf};

use hambar_fetch::{Recordings, ReplayServer};
use hambar_testkit::evil_http::Answer;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::support::{ORIGIN, Provider, Workshop, background, shared};

/// A provider that answers as it was recorded.
pub(crate) struct Recorded {
    server: ReplayServer,
    _runtime: Runtime,
}

impl Recorded {
    pub(crate) fn start(folder: &Path) -> Self {
        let runtime = background();
        let recordings = Recordings::open(&folder.join("replay.jsonl")).unwrap();
        let server = runtime.block_on(ReplayServer::start(recordings)).unwrap();
        Self { server, _runtime: runtime }
    }

    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.server.address())
    }
}

/// The text of a recorded body.
pub(crate) fn body(file: &Path) -> String {
    let bytes = std::fs::read(file).unwrap();
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return String::from_utf8(bytes).unwrap();
    }
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
    text
}

pub(crate) fn json(file: &Path) -> Value {
    serde_json::from_str(&body(file)).unwrap()
}

/// A pipeline file of this repository with some of its text replaced.
fn own_pipeline(file: &str, replacements: &[(&str, &str)]) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../pipelines").join(file);
    let mut text = std::fs::read_to_string(path).unwrap();
    for (from, to) in replacements {
        assert!(text.contains(from), "{file}: {from}");
        text = text.replace(from, to);
    }
    text
}

/// A pipeline with text columns, the first `keys` of them the key.
pub(crate) fn pipeline(source: &str, format: &str, columns: &[&str], keys: usize) -> String {
    let mut text = format!("version = 1\nignore = [\"*\"]\n[source]\n{source}\n[format]\n{format}\n");
    for name in columns {
        let made = name.trim_start_matches('/').to_lowercase();
        text.push_str(&format!("[[columns]]\nname = \"{made}\"\nsource = \"{name}\"\ntype = \"string\"\n"));
    }
    let key: Vec<String> =
        columns.iter().take(keys).map(|name| format!("\"{}\"", name.trim_start_matches('/').to_lowercase())).collect();
    text + &format!("[write]\nmode = \"snapshot\"\nkey = [{}]\n{ORIGIN}", key.join(", "))
}

/// Runs twice; the first run commits `rows`, the second finds nothing new.
#[track_caller]
pub(crate) fn check(table: &str, text: &str, rows: usize) -> Workshop {
    let workshop = Workshop::new();
    workshop.pipeline(table, text);
    let said = workshop.run(table);
    assert!(said.contains(&format!("{rows} rows new or changed, 0 revised, 0 withdrawn")), "{rows} rows: {said}");
    assert_eq!(workshop.value(&format!("SELECT count(*) FROM {table}")), rows.to_string());
    assert_eq!(workshop.value("SELECT rows_rejected FROM system.runs"), "0");
    let again = workshop.run(table);
    assert!(again.contains("unchanged"), "{again}");
    workshop.fsck();
    workshop
}

#[test]
fn the_world_banks_rows_are_committed() {
    let Some(data) = shared() else { return };
    let rows = json(&data.join("worldbank/api-v2-rows/wb-country-indicator.json"));
    let list = rows.as_array().unwrap();
    let provider = Provider::start();
    // The rows were recorded without their envelope.
    let envelope = serde_json::json!({
        "page": 1, "pages": 1, "per_page": 5000, "total": list.len(), "sourceid": "2", "lastupdated": "2024-05-30",
    });
    let answer = serde_json::json!([envelope, rows]).to_string();
    let target = "/v2/country/all/indicator/NY.GDP.PCAP.CD";
    provider.offer(target, Answer::ok(answer).header("content-type", "application/json;charset=utf-8"));
    let text = own_pipeline("worldbank/gdp_per_capita.toml", &[("https://api.worldbank.org", &provider.url(""))]);
    let workshop = check("worldbank.gdp_per_capita", &text, list.len());
    let newest = list.iter().find(|row| row["date"] == "2022").unwrap()["value"].as_f64().unwrap();
    let found = workshop.value("SELECT value FROM worldbank.gdp_per_capita WHERE year = 2022 AND country = 'US'");
    assert_eq!(found.parse::<f64>().unwrap(), newest);
    let missing = list.iter().filter(|row| row["value"].is_null()).count();
    let sql = "SELECT count(*) FROM worldbank.gdp_per_capita WHERE value IS NULL";
    assert_eq!(workshop.value(sql), missing.to_string());
}

#[test]
fn earthquakes_are_committed_window_by_window() {
    let Some(data) = shared() else { return };
    let folder = data.join("usgs/comcat-recorded");
    let recorded = Recorded::start(&folder);
    let base = recorded.base();
    let text = own_pipeline(
        "usgs/earthquakes.toml",
        &[
            ("https://earthquake.usgs.gov", &base),
            (
                "minmagnitude = 4.5, orderby = \"time-asc\", limit = 20000",
                "limit = 20000, maxmagnitude = 0.1, offset = 1, orderby = \"time-asc\", eventtype = \"earthquake\"",
            ),
            (
                "from = \"1970-01-01T00:00:00Z\"\ndays = 365",
                "from = \"2017-01-01T00:00:00Z\"\nto = \"2017-01-20T00:00:00Z\"\ndays = 10",
            ),
            (
                "format = \"%Y-%m-%dT%H:%M:%S%.3f\"\nresolution = \"millisecond\"",
                "format = \"%Y-%m-%dT%H:%M:%S\"\nresolution = \"day\"\nend = \"excluded\"",
            ),
            (&format!("[source.count]\nurl = \"{base}/fdsnws/event/1/count\"\ntotal = \"/count\"\n"), ""),
            (
                "[source.incremental]\nparameter = \"updatedafter\"\nformat = \"%Y-%m-%dT%H:%M:%S\"\nlookback_seconds = 3600\n",
                "",
            ),
        ],
    );
    let mut events = 0;
    for line in std::fs::read_to_string(folder.join("replay.jsonl")).unwrap().lines() {
        let exchange: Value = serde_json::from_str(line).unwrap();
        let url = exchange["url"].as_str().unwrap();
        let is_asked = url.contains("maxmagnitude=0.1&")
            && ["=2017-01-01T", "=2017-01-11T"].iter().any(|from| url.contains(&format!("starttime{from}")));
        if is_asked {
            events += json(&folder.join(exchange["body_file"].as_str().unwrap()))["features"].as_array().unwrap().len();
        }
    }
    assert!(events > 200);
    let workshop = check("usgs.earthquakes", &text, events);
    let sql = "SELECT count(*) FROM usgs.earthquakes WHERE occurred_at >= '2017-01-01' AND occurred_at < '2017-01-21' AND magnitude <= 0.1";
    assert_eq!(workshop.value(sql), events.to_string());
}

#[test]
fn crossrefs_types_are_committed() {
    let Some(data) = shared() else { return };
    let recorded = Recorded::start(&data.join("crossref-recorded"));
    let source = format!(
        "kind = \"rest_json\"\nurl = \"{}/types\"\nrecord_path = \"/message/items\"\n[source.complete]\ntotal = \"/message/total-results\"",
        recorded.base()
    );
    let workshop = check("crossref.types", &pipeline(&source, "kind = \"json\"", &["id", "label"], 1), 30);
    assert_eq!(workshop.value("SELECT label FROM crossref.types WHERE id = 'journal-article'"), "Journal Article");
}

#[test]
fn a_page_of_many_is_not_taken_for_everything() {
    let Some(data) = shared() else { return };
    let recorded = Recorded::start(&data.join("crossref-recorded"));
    let source = format!(
        "kind = \"rest_json\"\nurl = \"{}/works?query=widget&cursor=*\"\nrecord_path = \"/message/items\"\n[source.complete]\ntotal = \"/message/total-results\"",
        recorded.base()
    );
    let workshop = Workshop::new();
    workshop.pipeline("crossref.works", &pipeline(&source, "kind = \"json\"", &["DOI"], 1));
    workshop.hambar(&["run", "crossref.works"]).fails(13, &["454", "20", "nothing was published"]);
}

#[test]
fn a_portals_file_is_committed() {
    let Some(data) = shared() else { return };
    let folder = data.join("ckan/dados-gov-br-recorded/bodies");
    let provider = Provider::start();
    // The portal names its files by its own address, which is this provider's now.
    let package = body(&folder.join("0008.json")).replace("http://localhost:5000", &provider.url(""));
    provider.offer("/api/3/action/package_show", Answer::ok(package).header("content-type", "application/json"));
    let download = "/dataset/1b26c9fe-1869-4999-954f-0f276d4bea02/resource/a42c84cc-bd76-4906-902d-f641090bce63/download/table.ods";
    provider.offer(download, Answer::ok(std::fs::read(folder.join("0010.ods")).unwrap()));
    let source = format!(
        "kind = \"ckan\"\nportal = \"{}\"\nread = \"files\"\ndataset = \"dataset-example\"\nresource = {{ format = \"ods\" }}",
        provider.url("")
    );
    let workshop = check("ckan.capitals", &pipeline(&source, "kind = \"ods\"", &["id", "name"], 1), 2);
    assert_eq!(workshop.rows("SELECT name FROM ckan.capitals"), ["english", "中国人"]);
}

#[test]
fn sdmx_observations_and_code_lists_are_committed() {
    let Some(data) = shared() else { return };
    let folder = data.join("sdmx/imf-sdmx3-recorded");
    let recorded = Recorded::start(&folder);
    let imf = format!("kind = \"sdmx\"\ndialect = \"imf\"\nendpoint = \"{}/external/sdmx/3.0\"\n", recorded.base());
    let observed = json(&folder.join("bodies/0027.json"))["data"]["dataSets"][0]["series"]
        .as_object()
        .unwrap()
        .values()
        .map(|series| series["observations"].as_object().unwrap().len())
        .sum();
    let source = format!(
        "{imf}flow = {{ agency = \"IMF.STA\", id = \"GFS_SOO\" }}\nkey = \"*.S13.G2M.G23_T.POGDP_PT.A\"\n\
         start_period = \"1972-A1\"\nend_period = \"1976-A1\""
    );
    check("imf.gfs", &pipeline(&source, "kind = \"sdmx_json\"", &["COUNTRY", "TIME_PERIOD", "OBS_VALUE"], 2), observed);

    let codes = json(&folder.join("bodies/0001.json"))["data"]["codelists"][0]["codes"].as_array().unwrap().len();
    let source = format!("{imf}resource = \"codelist\"\nflow = {{ agency = \"IMF\", id = \"CL_COUNTRY\" }}");
    let text = pipeline(&source, "kind = \"sdmx_json\"", &["role", "code", "lang", "label"], 3);
    let workshop = Workshop::new();
    workshop.pipeline("imf.countries", &text);
    workshop.run("imf.countries");
    let sql = "SELECT count(DISTINCT code) FROM imf.countries WHERE role = 'code'";
    assert_eq!(workshop.value(sql), codes.to_string());
}

#[test]
fn generic_sdmx_of_a_statistical_office_is_committed() {
    let Some(data) = shared() else { return };
    let folder = data.join("sdmx/recorded-nsi-ws");
    let recorded = Recorded::start(&folder);
    let observed = body(&folder.join("bodies/0002.xml")).matches("<generic:Obs>").count();
    let source = format!(
        "kind = \"sdmx\"\ndialect = \"istat\"\nendpoint = \"{}/SDMXWS/rest\"\nflow = {{ id = \"47_850\" }}\nkey = \"A.001001+001002.AUTP.ALL.ALL.1\"",
        recorded.base()
    );
    let text = pipeline(&source, "kind = \"sdmx_ml\"", &["REF_AREA", "TIME_PERIOD", "OBS_VALUE"], 2);
    let workshop = check("istat.libraries", &text, observed);
    let sql = "SELECT obs_value FROM istat.libraries WHERE ref_area = '001002' AND time_period = '2014'";
    assert_eq!(workshop.value(sql), "54");
}

#[test]
fn files_of_many_kinds_are_pulled_on_the_spot() {
    let Some(data) = shared() else { return };
    let recorded = Recorded::start(&data.join("http-files-recorded"));
    let (frictionless, tabulator) =
        ("/frictionlessdata/frictionless-py/master/data", "/frictionlessdata/tabulator-py/master/data");
    let workshop = Workshop::new();
    for (path, table, rows) in [
        (format!("{frictionless}/table.ods"), "scratch.ods", "2"),
        (format!("{frictionless}/latin1.csv"), "scratch.latin", "2"),
        (format!("{tabulator}/table.csv.gz"), "scratch.gzip", "2"),
        (format!("{tabulator}/table.csv.zip"), "scratch.zip", "2"),
        (
            "/transparencia-mg/datapackage-reprex/foreign-key-constraint/data/estados.csv".to_owned(),
            "scratch.states",
            "27",
        ),
        ("/vitorbaptista/birmingham_schools/master/data/birmingham_schools.csv".to_owned(), "scratch.schools", "447"),
    ] {
        workshop.hambar(&["pull", &format!("{}{path}", recorded.base()), "--table", table]).ok();
        assert_eq!(workshop.value(&format!("SELECT count(*) FROM {table}")), rows, "{table}");
    }
    assert_eq!(workshop.rows("SELECT name FROM scratch.latin"), ["english", "©"]);
    let gone = format!("{}{frictionless}/table-lists.json", recorded.base());
    workshop.hambar(&["pull", &gone, "--table", "scratch.gone"]).fails(12, &["404"]);
    workshop.fsck();
}
