//! SDMX messages of others (`../shared/data/sdmx`): the same dataflow gives the same rows in every format, footers and
//! error messages are errors, structure messages give code rows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use hambar_decode::spec::DecodeJob;
use hambar_decode::{DecodeError, Input, sdmx};

/// One row without its NULL and empty cells.
pub(crate) type Row = BTreeMap<String, String>;

pub(crate) fn job(kind: &str) -> DecodeJob {
    crate::reading::job(&serde_json::json!({ "kind": kind }), &serde_json::json!([]))
}

pub(crate) fn shared() -> Option<PathBuf> {
    crate::reading::shared("sdmx")
}

fn text_column(array: &ArrayRef) -> ArrayRef {
    arrow::compute::cast(array, &DataType::Utf8).unwrap()
}

pub(crate) fn read(input: Input, kind: &str) -> Result<Vec<Row>, DecodeError> {
    let mut source = sdmx::open(input, &job(kind), None)?;
    let mut rows = Vec::new();
    while let Some(found) = source.next_batch()? {
        assert_eq!(found.faults, vec![], "no faults in these files");
        assert_eq!(found.first_record, rows.len() as u64 + 1);
        let first = rows.len();
        rows.resize(first + found.batch.num_rows(), Row::new());
        for (field, array) in found.batch.schema().fields().iter().zip(found.batch.columns()) {
            let texts = text_column(array);
            let texts = texts.as_string::<i32>();
            for row in (0..texts.len()).filter(|row| texts.is_valid(*row) && !texts.value(*row).is_empty()) {
                rows[first + row].insert(field.name().clone(), texts.value(row).to_owned());
            }
        }
    }
    assert!(source.next_batch()?.is_none(), "a finished source stays finished");
    Ok(rows)
}

pub(crate) fn read_text(text: &str, kind: &str) -> Result<Vec<Row>, DecodeError> {
    read(Input::Stream(Box::new(Cursor::new(text.as_bytes().to_vec()))), kind)
}

fn read_file(path: &Path) -> Vec<Row> {
    let kind = match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => "sdmx_json",
        Some("csv") => "sdmx_csv",
        _ => "sdmx_ml",
    };
    let rows = read(Input::File(File::open(path).unwrap()), kind);
    rows.unwrap_or_else(|error| panic!("{}: {}", path.display(), hambar_core::Chain(&error)))
}

fn show(row: &Row) -> String {
    row.iter().map(|(name, cell)| format!("{name}={cell}")).collect::<Vec<_>>().join(" ")
}

fn set(rows: Vec<Row>) -> BTreeSet<Row> {
    rows.into_iter().collect()
}

#[test]
fn every_form_of_a_dataflow_gives_the_same_rows() {
    let Some(folder) = shared() else { return };
    let folder = folder.join("sdmx-test-data/ECB_EXR");
    // `sg-xs.xml` and `rg-xs.xml` are left out: the files themselves have wrong months.
    let forms: [&[&str]; 4] = [
        &[
            "ng-ts.xml",
            "ng-ts-ss.xml",
            "ng-ts-gf.xml",
            "ng-ts-gf-ss.xml",
            "ng-flat.xml",
            "ng-flat-ss.xml",
            "ng-xs.xml",
            "ng-xs-ss.xml",
        ],
        &[
            "sg-ts.xml",
            "sg-ts-ss.xml",
            "sg-ts-gf.xml",
            "sg-ts-gf-ss.xml",
            "sg-flat.xml",
            "sg-ts-gf-flat-ss.xml",
            "sg-xs-ss.xml",
        ],
        &[
            "rg-ts.xml",
            "rg-ts-ss.xml",
            "rg-ts-gf.xml",
            "rg-ts-gf-ss.xml",
            "rg-flat.xml",
            "rg-flat-ss.xml",
            "rg-xs-ss.xml",
        ],
        &["ts.json", "flat.json", "xs.json"],
    ];
    let mut firsts = Vec::new();
    for files in forms {
        let expected = set(read_file(&folder.join(files[0])));
        assert!(!expected.is_empty());
        for file in files {
            let found = set(read_file(&folder.join(file)));
            assert_eq!(found, expected, "{file} against {}", files[0]);
        }
        firsts.push(expected);
    }
    // The groupings carry the same data as no groups at all.
    assert_eq!(firsts[0], firsts[1]);
    assert_eq!(firsts[0], firsts[2]);
    assert_eq!(firsts[0].len(), 12);
    let one = firsts[0].iter().find(|row| row["CURRENCY"] == "JPY" && row["TIME_PERIOD"] == "2010-09").unwrap();
    assert_eq!(
        show(one),
        "COLL_METHOD=Average of observations through period CONF_STATUS_OBS=F CURRENCY=JPY CURRENCY_DENOM=EUR \
         DECIMALS=2 EXR_TYPE=SP00 EXR_VAR=E FREQ=M OBS_STATUS=A OBS_VALUE=110.26 \
         TIME_PERIOD=2010-09 TITLE=ECB reference exchange rate, Japanese yen/Euro UNIT_MEASURE=JPY UNIT_MULT=0"
    );
}

#[test]
fn json_rows_are_the_expected_ones() {
    let Some(folder) = shared() else { return };
    let rows = read_file(&folder.join("sdmx-test-data/ECB_EXR/ts.json"));
    let cells: Vec<String> =
        rows.iter().map(|row| format!("{} {} {}", row["CURRENCY"], row["TIME_PERIOD"], row["OBS_VALUE"])).collect();
    // The numbers as they were written, final zeros included.
    assert_eq!(
        cells,
        ["NZD 2013-01-18 1.5931", "NZD 2013-01-21 1.5925", "RUB 2013-01-18 40.3426", "RUB 2013-01-21 40.3000"]
    );
    let rows = read_file(&folder.join("sdmx-test-data/ECB_EXR/action-delete.json"));
    let deleted: Vec<_> = rows.iter().filter(|row| row.get("ACTION").is_some_and(|action| action == "D")).collect();
    assert_eq!((rows.len(), deleted.len()), (3, 1));
    let rows = read_file(&folder.join("official-sdmx-json/data-message/samples/agri.json"));
    assert_eq!(rows[0]["SOURCE"], "MAFF_Agricultural Statistics_2014");
    assert!(rows[0]["SERIES_COMMENT"].starts_with("en:Comment for Annual data for Banteay Meanchey;km:"));
    assert_eq!(rows[0]["UNIT_MULT"], "3");
}

#[test]
fn json_attributes_of_every_level_reach_the_rows() {
    let Some(folder) = shared() else { return };
    let text =
        std::fs::read_to_string(folder.join("official-sdmx-json/data-message/samples/constructed-sample-full.json"))
            .unwrap();
    let error = read_text(&text, "sdmx_json").unwrap_err();
    assert_eq!(error.to_string(), "the answer is an error message: 400: Invalid number of dimensions in parameter key");
    let mut message: serde_json::Value = serde_json::from_str(&text).unwrap();
    message["errors"] = serde_json::json!([]);
    let rows = read_text(&message.to_string(), "sdmx_json").unwrap();
    assert_eq!(
        show(&rows[2]),
        "CURRENCY=RUB CURRENCY_DENOM=EUR DESCRIPTION=Description value 1;Description value 2 \
         EMBARGO_TIME=2013-03-18T11:00:00 EXR_SUFFIX=A EXR_TYPE=SP00 FREQ=D ID=ID2 OBS_VALUE=40.3426 TIME_FORMAT=P1D \
         TIME_PERIOD=2013-01-18 UNIT_MEAS=NC"
    );
}

#[test]
fn all_data_messages_are_read() {
    let Some(folder) = shared() else { return };
    for file in [
        "central-banks/bis-data.xml",
        "central-banks/ecb-data-fm.xml",
        "central-banks/bbk-data.xml",
        "central-banks/nob-data.xml",
        "recorded-nsi-ws/bodies/0002.xml",
        "imf-sdmx3-recorded/bodies/0023.json",
        "imf-sdmx3-recorded/bodies/0027.json",
        "sdmx-test-data/ECB_EXR/1/M.USD.EUR.SP00.A.xml",
        "sdmx-test-data/INSEE/IPI-2010-A21.xml",
        "sdmx-test-data/INSEE/CNA-2010-CONSO-SI-A17.xml",
        "sdmx-test-data/ESTAT/NAMA_10_GDP-ss.xml",
        "sdmx-test-data/ESTAT/demography-xs.xml",
        "sdmx-test-data/v3/xml/ECB_EXR0.xml",
        "rsdmx-2.0-2.1/SDMXGenericDataExample_2.0.xml",
        "rsdmx-2.0-2.1/SDMXCompactDataExample_2.0.xml",
        "rsdmx-2.0-2.1/SDMXGenericDataExample_2.1.xml",
        "rsdmx-2.0-2.1/SDMXStructureSpecificDataExample_2.1.xml",
        "sdmx-dl/sdmx-generic20-sample.xml",
        "sdmx-dl/sdmx-compact20-sample.xml",
        "sdmx-dl/sdmx-GenericData21.xml",
        "sdmx-dl/sdmx-compactData21.xml",
        "pysdmx/sdmx21-reader/gen_ser_no_obs.xml",
        "pysdmx/csv-json/samples/exr-time-series.json",
    ] {
        let path = folder.join(file);
        let found = read_file(&path);
        println!("{file}: {} {}", found.len(), found.first().map(show).unwrap_or_default());
        assert_eq!(found.len(), observations(&path), "{file}");
    }
}

/// Counts the observations of a message without reading it as one.
fn observations(path: &Path) -> usize {
    let text = std::fs::read_to_string(path).unwrap();
    if path.extension().is_some_and(|extension| extension == "json") {
        let message: serde_json::Value = serde_json::from_str(&text).unwrap();
        let sets = message.pointer("/data/dataSets").or(message.get("dataSets")).unwrap().as_array().unwrap();
        let series = sets.iter().flat_map(|set| set["series"].as_object().into_iter().flat_map(|all| all.values()));
        return series.chain(sets).map(|node| node["observations"].as_object().map_or(0, |all| all.len())).sum();
    }
    text.split('<')
        .filter(|tag| {
            let name = tag.split([' ', '>', '/', '\n', '\t', '\r']).next().unwrap_or_default();
            name.rsplit(':').next() == Some("Obs") && !tag.starts_with('/')
        })
        .count()
}

#[test]
fn explicit_measures_and_complex_attributes_are_cells() {
    let Some(folder) = shared() else { return };
    let rows = read_file(&folder.join("sdmx-test-data/ESTAT/demography-xs.xml"));
    assert_eq!(
        show(&rows[1]),
        "COUNTRY=BE DEMO=LEXPNSIT FREQ=A OBS_STATUS=A OBS_VALUE=80.2 SEX=T TIME_PERIOD=2007 UNIT_MEASURE=YRS UNIT_MULT=0"
    );
    let rows = read_file(&folder.join("sdmx-test-data/v3/xml/ECB_EXR_CA.xml"));
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[1]["OBS_STATUS"], "J;U;N");
    assert_eq!(rows[2]["OBS_STATUS"], "A");
    assert_eq!(rows[0]["SOURCE_AGENCY"], "4F0;4D0;CZ2");
    assert!(rows[0]["TITLE"].starts_with("\"en:Some English Text;fr:Quelques"), "{}", rows[0]["TITLE"]);
}

#[test]
fn groups_of_version_2_0_reach_the_rows() {
    let Some(folder) = shared() else { return };
    let generic = set(read_file(&folder.join("sdmx-dl/sdmx-generic20-sample.xml")));
    let compact = set(read_file(&folder.join("sdmx-dl/sdmx-compact20-sample.xml")));
    let first = generic.iter().next().unwrap();
    assert_eq!((first["BIS_UNIT"].as_str(), first["DECIMALS"].as_str()), ("USD", "2"));
    // The two samples differ in some values; what the groups say is the same.
    let group =
        |row: &Row| [&row["BIS_UNIT"], &row["UNIT_MULT"], &row["AVAILABILITY"], &row["DECIMALS"]].map(String::clone);
    assert_eq!(generic.iter().map(group).collect::<BTreeSet<_>>(), compact.iter().map(group).collect::<BTreeSet<_>>());
}
