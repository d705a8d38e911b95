//! Structure messages of others give rows of codes, components and names.

use std::fs::File;

use hambar_decode::Input;

use crate::sdmx::{Row, read, shared};

fn rows(file: &str) -> Option<Vec<Row>> {
    let path = shared()?.join(file);
    let kind = if file.ends_with(".json") { "sdmx_json" } else { "sdmx_ml" };
    let rows = read(Input::File(File::open(path).unwrap()), kind);
    Some(rows.unwrap_or_else(|error| panic!("{file}: {}", hambar_core::Chain(&error))))
}

const ORDER: [&str; 11] =
    ["artefact", "agency", "id", "version", "role", "code", "lang", "label", "parent", "reference", "position"];

fn show(row: &Row) -> String {
    ORDER.iter().map(|name| row.get(*name).map_or("-", String::as_str)).collect::<Vec<_>>().join("|")
}

/// Checks that `file` has a row that reads `expected`.
#[track_caller]
fn check(file: &str, expected: &[&str]) {
    let Some(found) = rows(file) else { return };
    let found: Vec<String> = found.iter().map(show).collect();
    for expected in expected {
        assert!(
            found.iter().any(|row| row == expected),
            "{file}: no `{expected}` in\n{}",
            found[..found.len().min(60)].join("\n")
        );
    }
}

#[test]
fn codes_keep_languages_and_parents() {
    check(
        "sdmx-test-data/v21/xml/query/response_cl_regions.xml",
        &[
            "codelist|ESTAT|CL_AREA|1.0|code|GR-A|en|Anatoliki Makedonia kai Thraki|GR|-|1",
            "codelist|ESTAT|CL_AREA|1.0|self|-|en|Area Codelist|-|-|-",
        ],
    );
    check("rsdmx-2.0-2.1/SDMXCodelists_Example_2.0.xml", &["codelist|ORG|CL_THE_CODELIST|-|code|D|fr|lettre D|-|-|4"]);
}

#[test]
fn components_refer_to_code_lists() {
    check(
        "sdmx-test-data/ECB_EXR/ng-structure-full.xml",
        &[
            "datastructure|ECB|ECB_EXR_NG|1.0|dimension|CURRENCY|-|-|-|ISO:CL_CURRENCY(1.0)|2",
            "datastructure|ECB|ECB_EXR_NG|1.0|time_dimension|TIME_PERIOD|-|-|-|-|6",
            "datastructure|ECB|ECB_EXR_NG|1.0|measure|OBS_VALUE|-|-|-|-|1",
        ],
    );
    check(
        "sdmx-test-data/v3/xml/ECB_EXR1.xml",
        &["datastructure|ECB|ECB_EXR|1.0|dimension|CURRENCY|-|-|-|ECB:CL_CURRENCY(1.0)|2"],
    );
    check(
        "official-sdmx-json/structure-message/samples/constructed-sample.json",
        &[
            "datastructure|ECB|ECB_EXR1|1.0|dimension|CURRENCY|-|-|-|ECB:CL_CURRENCY(1.0)|2",
            "datastructure|ECB|ECB_EXR1|1.0|attribute|OBS_CONF|-|-|-|ECB:CL_OBS_CONF(1.0)|2",
            "dataflow|ECB|EXR|1.0|self|-|en|Exchange Rates|-|ECB:ECB_EXR1(1.0)|-",
        ],
    );
}

#[test]
fn constraints_give_their_values() {
    check(
        "pysdmx/sdmx21-reader/constraint_cube.xml",
        &[
            "contentconstraint|TEST_AGENCY|TEST_CONSTRAINT_CUBE|1.0|value|M|-|-|FREQ|-|1",
            "contentconstraint|TEST_AGENCY|TEST_CONSTRAINT_CUBE|1.0|value|UK|-|-|REF_AREA|-|4",
        ],
    );
}

#[test]
fn every_structure_message_is_read() {
    for (file, at_least) in [
        ("sdmx-test-data/INSEE/dataflow.xml", 400),
        ("sdmx-test-data/ECB_EXR/1/structure-full.xml", 900),
        ("sdmx-test-data/SGR/common-structure.xml", 10),
        ("sdmx-dl/EcbDataflows.xml", 3),
        ("sdmx-dl/EcbDataStructure.xml", 10),
        ("recorded-nsi-ws/bodies/0001.xml", 10),
        ("imf-sdmx3-recorded/bodies/0008.json", 78),
        ("imf-sdmx3-recorded/bodies/0007.json", 980),
        ("imf-sdmx3-recorded/bodies/0036.json", 6),
        ("pysdmx/fmr-registry/code/freq.json", 5),
        ("pysdmx/sdmx21-reader/codelists.xml", 10),
    ] {
        let Some(found) = rows(file) else { return };
        println!("{file}: {}", found.len());
        assert!(found.len() >= at_least, "{file}: {}", found.len());
    }
}
