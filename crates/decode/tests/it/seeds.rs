//! Whole inputs to begin with for each target: small ones made here, and real files of `../shared`.

use std::path::Path;

use crate::archive::{bzip2, gzip, tar_of, xz, zipped, zstd};
use crate::excel::{self, STRINGS};
use crate::formats::{arrow_file_of, arrow_stream_of, parquet_of};
use crate::reading::shared;

/// Bytes of a file of others that is still a good start: damage to a larger one rarely meets what matters.
const SEED_BYTES_MAX: u64 = 24 * 1024;
/// Files of others for one target.
const SHARED_SEEDS_MAX: usize = 60;

const LINES: &[u8] = b"{\"a\": 1}\n{\"a\": \"x\", \"b\": [{\"c\": 1, \"d\": 2.50}], \"x\": [{\"y\": null}]}\n";
const JSON: &str = r#"{"n": 1, "rows": [{"a": "x\n", "b": [{"c": 7, "d": "1.5"}]}, {"at": {"t": "2024-01-01T00:00:00Z", "d": "2024-02-29", "f": 1e5, "z": true}}], "a/b": [{"c": [1]}]}"#;
const GENERIC: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?><m:GenericData xmlns:m=\"m\" xmlns:g=\"g\"><m:Header><m:Structure structureID=\"S\" dimensionAtObservation=\"TIME_PERIOD\"/></m:Header><m:DataSet structureRef=\"S\" action=\"Delete\"><g:Group type=\"Sibling\"><g:GroupKey><g:Value id=\"GEO\" value=\"BG\"/></g:GroupKey><g:Attributes><g:Value id=\"TITLE\" value=\"a &amp; b\"/></g:Attributes></g:Group><g:Series><g:SeriesKey><g:Value id=\"GEO\" value=\"BG\"/></g:SeriesKey><g:Attributes><g:Value id=\"UNIT\" value=\"EUR\"/></g:Attributes><g:Obs><g:ObsDimension value=\"2024\"/><g:ObsValue value=\"1\"/></g:Obs></g:Series></m:DataSet><m:Footer><m:Message code=\"100\"><c:Text>t</c:Text></m:Message></m:Footer></m:GenericData>";
const SPECIFIC: &str = "<m:StructureSpecificData xmlns:m=\"m\"><m:DataSet UNIT=\"EUR\"><Atts GEO=\"BG\" T=\"x\"/><Series FREQ=\"A\" GEO=\"BG\"><Obs TIME_PERIOD=\"2020-Q1\" OBS_VALUE=\"40.3000\"><Comp id=\"C\"><Value><Text xml:lang=\"en\">a</Text></Value><Value>b;c</Value></Comp></Obs></Series></m:DataSet></m:StructureSpecificData>";
const SDMX_JSON: &str = r#"{"data":{"dataSets":[{"structure":0,"attributes":[0],"dimensionGroupAttributes":{"0::":[0]},"series":{"0:0":{"attributes":[0],"observations":{"0":[40.3000,0],"1":[null,[0,1]]}}}}],"structures":[{"dimensions":{"series":[{"id":"FREQ","values":[{"id":"A"}]},{"id":"GEO","values":[{"id":"BG"}]}],"observation":[{"id":"TIME_PERIOD","values":[{"id":"2020"},{"value":"2021"}]}]},"attributes":{"dataSet":[{"id":"UNIT","values":[{"id":"EUR"}]}],"dimensionGroup":[{"id":"T"}],"series":[{"id":"D","values":[{"name":{"en":"x","fr":"y"}}]}],"observation":[{"id":"OBS_STATUS","values":[{"id":"A"},{"id":"M"}]}]}}]}}"#;
const STRUCTURE: &str = "<m:Structure xmlns:m=\"m\"><m:Structures><s:Codelists><s:Codelist id=\"CL\" agencyID=\"X\" version=\"1.0\"><c:Name xml:lang=\"en\">n</c:Name><s:Code id=\"A\"><c:Name xml:lang=\"en\">a</c:Name><s:Parent><Ref id=\"B\"/></s:Parent></s:Code></s:Codelist></s:Codelists><s:DataStructures><s:DataStructure id=\"D\" agencyID=\"X\"><s:DataStructureComponents><s:DimensionList><s:Dimension id=\"FREQ\"><s:LocalRepresentation><s:Enumeration><Ref id=\"CL\" agencyID=\"X\"/></s:Enumeration></s:LocalRepresentation></s:Dimension></s:DimensionList></s:DataStructureComponents></s:DataStructure></s:DataStructures></m:Structures></m:Structure>";
const STRUCTURE_JSON: &str = r#"{"data":{"codelists":[{"id":"CL","agencyID":"X","version":"1.0","names":{"en":"n"},"codes":[{"id":"A","name":"a","parent":"B","codes":[{"id":"C"}]}]}],"contentConstraints":[{"id":"K","validFrom":"2020","cubeRegions":[{"keyValues":[{"id":"GEO","values":["BG",{"value":"RO"}]}]}]}]}}"#;
const SDMX_CSV: &[u8] = b"STRUCTURE;STRUCTURE_ID;ACTION;FREQ: Frequency;ATTR[];OBS_VALUE\ndataflow;E:F(1.0);I;A: Annual;x;1.5\ndataflow;E:G(1.0);D;A: Annual;\"x;y\";\n";
const CSV: &[u8] = b"Title\na,b,c\n1,\"x, \"\"y\"\"\n z\",caf\xc3\xa9\n\n2;'q';3\n\"open\nSource: us\n";
const NUMBERS: &[u8] =
    b"1.234,56\n-1e3\n+12.50\n.5\n9223372036854775807\n1 234 567\n\xe2\x88\x923\n0x10\nnan\n1,234.5\n";
const PERIODS: &[u8] = b"2024\n2024-Q1\n2024-W53\n2023/24\n2010-01/2010-06\n2012-01-01/P1Y\n2024-02-29T10:00:00+02:00\n2024-D060\nQ3 2024\n9999-00\n";
const CELLS: &[u8] = b"true\n12.3 bp\n: c\n..\n2024-02-29\n29.02.2024\n2024-01-01T00:00:00Z\n007\n\n2024M02\n1e400\n";

fn ods() -> Vec<u8> {
    let content = r#"<office:document-content><office:body><office:spreadsheet><table:table table:name="S"><table:table-row><table:table-cell office:value-type="string"><text:p>a</text:p></table:table-cell></table:table-row><table:table-row table:number-rows-repeated="2"><table:table-cell office:value-type="float" office:value="1.5"/></table:table-row></table:table></office:spreadsheet></office:body></office:document-content>"#;
    let manifest = r#"<?xml version="1.0"?><manifest:manifest xmlns:manifest="m"/>"#;
    let mimetype = "application/vnd.oasis.opendocument.spreadsheet";
    excel::zip_of(&[("mimetype", mimetype), ("META-INF/manifest.xml", manifest), ("content.xml", content)])
}

fn xlsx() -> Vec<u8> {
    let rows = format!(
        "<row r=\"1\">{}<c r=\"B1\" t=\"s\"><v>0</v></c></row><row r=\"3\"><c r=\"A3\" s=\"1\"><v>45943</v></c></row>",
        excel::text("A1", "x")
    );
    excel::xlsx(&rows, STRINGS)
}

/// The bytes in front choose the settings.
fn behind(choices: &[u8], body: &[u8]) -> Vec<u8> {
    [choices, body].concat()
}

fn made(target: &str) -> Vec<Vec<u8>> {
    let choices = 0..8_u8;
    match target {
        "csv" => choices.map(|which| behind(&[which, 40], CSV)).collect(),
        "fixed" => choices
            .map(|which| behind(&[which, 3], "001Sofia 12\n# x\n002\u{420}\u{443}\u{441}\u{435}\n".as_bytes()))
            .collect(),
        "json" => choices.map(|which| behind(&[which, 9], JSON.as_bytes())).collect(),
        "ndjson" => vec![behind(&[0, 5], LINES), behind(&[200, 5], LINES)],
        "parquet" => vec![parquet_of(3), parquet_of(200)],
        "arrow" => vec![arrow_stream_of(3), arrow_file_of(3)],
        "xlsx" => vec![xlsx()],
        "xls" => Vec::new(),
        "ods" => vec![ods()],
        "sdmx_ml" => vec![behind(&[7], GENERIC.as_bytes()), behind(&[99], SPECIFIC.as_bytes())],
        "sdmx_csv" => vec![behind(&[7], SDMX_CSV)],
        "sdmx_json" => vec![behind(&[7], SDMX_JSON.as_bytes())],
        "structures" => vec![behind(&[7], STRUCTURE.as_bytes()), behind(&[7], STRUCTURE_JSON.as_bytes())],
        "zip" => vec![behind(&[50], &zipped(&[("a.json", LINES), ("d/b.json", LINES)]))],
        "tar" => vec![behind(&[200], &tar_of(&[("a.json", LINES), ("d/b.json", LINES)]))],
        "compress" => {
            [gzip(LINES), bzip2(LINES), xz(LINES), zstd(LINES)].iter().map(|body| behind(&[0, 20], body)).collect()
        }
        "infer" => vec![CSV.to_vec(), b"geo;2000;2001;2002\nBG;1,5;2;:\nRO;3;;4 p\n".to_vec()],
        "period" => vec![PERIODS.to_vec()],
        "number" => choices.map(|which| behind(&[which], NUMBERS)).collect(),
        "conform" => (0..64).map(|which| behind(&[which % 10, which], CELLS)).collect(),
        other => panic!("no seeds for `{other}`"),
    }
}

/// Where real files for a target are: folder, ending, and the bytes that choose.
fn places(target: &str) -> &'static [(&'static str, &'static str, &'static [u8])] {
    match target {
        "csv" => &[("csv", "csv", &[0, 60]), ("frictionless/data", "csv", &[3, 60])],
        "infer" => &[("csv", "csv", &[]), ("frictionless/data", "csv", &[])],
        "json" => &[("json/JSONTestSuite", "json", &[0, 9])],
        "ndjson" => &[("json/JSONTestSuite", "json", &[0, 9]), ("frictionless/data", "ndjson", &[0, 9])],
        "parquet" => &[("parquet/parquet-testing/data", "parquet", &[])],
        "xlsx" => &[("excel/readxl", "xlsx", &[])],
        "xls" => &[("excel/readxl", "xls", &[])],
        "ods" => &[("frictionless/data", "ods", &[])],
        "sdmx_ml" => &[("sdmx/sdmx-test-data/ECB_EXR", "xml", &[80]), ("sdmx/pysdmx", "xml", &[80])],
        "sdmx_csv" => &[("sdmx/sdmx-test-data/v3/csv", "csv", &[80]), ("sdmx/pysdmx", "csv", &[80])],
        "sdmx_json" => &[("sdmx/sdmx-test-data/ECB_EXR", "json", &[80]), ("sdmx/pysdmx", "json", &[80])],
        "structures" => &[("sdmx/pysdmx", "xml", &[80]), ("sdmx/official-sdmx-json", "json", &[80])],
        "zip" => &[("frictionless/data", "zip", &[80])],
        "compress" => &[("csv/csvkit-examples", "gz", &[0, 80]), ("csv/csvkit-examples", "bz2", &[0, 80])],
        _ => &[],
    }
}

fn collect(folder: &Path, ending: &str, choices: &[u8], found: &mut Vec<Vec<u8>>) {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if found.len() >= SHARED_SEEDS_MAX {
            return;
        }
        let is_wanted = path.extension().is_some_and(|extension| extension == ending);
        if path.is_dir() {
            collect(&path, ending, choices, found);
        } else if is_wanted && path.metadata().unwrap().len() <= SEED_BYTES_MAX {
            found.push(behind(choices, &std::fs::read(path).unwrap()));
        }
    }
}

/// Returns the seeds of a target, at least one where `../shared` is.
pub(crate) fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut seeds = made(target);
    for (folder, ending, choices) in places(target) {
        if let Some(folder) = shared(folder) {
            let mut found = Vec::new();
            collect(&folder, ending, choices, &mut found);
            seeds.extend(found);
        }
    }
    seeds
}
