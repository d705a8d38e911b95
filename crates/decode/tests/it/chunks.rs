//! Any chunking of the input gives the same rows, for every decoder: records are written in a format, pushed to where the
//! decoder's own buffers end by blanks in front, and read as a file and as streams of any step, with one thread and three.
//! (Delimited text has a test of its own inside the crate, where the chunks can be set.)

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::archive::{bzip2, gzip, tar_of, xz, zipped, zstd};
use crate::reading::job;
use crate::targets::agree;

/// Buffers of the readers end at multiples of these.
const KIB: usize = 1024;

/// A record: an integer and a text without control characters.
type Record = (u32, String);

/// A format: its `[format]`, how records are written after so many blanks, and where its buffers end.
struct Form {
    format: Value,
    write: fn(&[Record], usize) -> Vec<u8>,
    buffer: usize,
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

fn ndjson(records: &[Record], blanks: usize) -> Vec<u8> {
    let lines = records.iter().map(|(n, text)| format!("{{\"n\": {n}, \"t\": {}}}\n", quoted(text)));
    format!("{}{}", " ".repeat(blanks), lines.collect::<String>()).into_bytes()
}

fn document(records: &[Record], blanks: usize) -> Vec<u8> {
    let objects: Vec<String> =
        records.iter().map(|(n, text)| format!("{{\"n\":{n},\"t\":{}}}", quoted(text))).collect();
    format!("{{\"skipped\": [{{}}],{}\"rows\": [{}]}}", " ".repeat(blanks), objects.join(",\n")).into_bytes()
}

fn fixed(records: &[Record], blanks: usize) -> Vec<u8> {
    let lines = records.iter().map(|(n, text)| format!("{n:<10}{text}\n"));
    format!("{}\n{}", "#".repeat(blanks), lines.collect::<String>()).into_bytes()
}

fn sdmx_ml(records: &[Record], blanks: usize) -> Vec<u8> {
    let rows = records.iter().map(|(n, text)| format!("<Obs n=\"{n}\" t=\"{}\"/>\n", escaped(text)));
    let rows: String = rows.collect();
    format!("<?xml version=\"1.0\"?>{}<CompactData><DataSet>{rows}</DataSet></CompactData>", " ".repeat(blanks))
        .into_bytes()
}

fn sdmx_json(records: &[Record], blanks: usize) -> Vec<u8> {
    let observations: Vec<String> =
        records.iter().enumerate().map(|(index, (_, text))| format!("\"{index}\":[{}]", quoted(text))).collect();
    let values: Vec<String> = records.iter().map(|(n, _)| format!("{{\"id\":\"{n}\"}}")).collect();
    format!(
        "{{\"structure\":{{\"dimensions\":{{\"observation\":[{{\"id\":\"n\",\"values\":[{}]}}]}},\"measures\":\
         {{\"observation\":[{{\"id\":\"t\"}}]}}}},{}\"dataSets\":[{{\"observations\":{{{}}}}}]}}",
        values.join(","),
        " ".repeat(blanks),
        observations.join(",")
    )
    .into_bytes()
}

fn sdmx_csv(records: &[Record], blanks: usize) -> Vec<u8> {
    let lines = records.iter().map(|(n, text)| format!("E:F(1.0),{n},\"{}\"\n", text.replace('"', "\"\"")));
    format!("{}\nDATAFLOW,n,t\n{}", "#".repeat(blanks), lines.collect::<String>()).into_bytes()
}

/// A code list gives one row a code; shown by its code and label.
fn structure(records: &[Record], blanks: usize) -> Vec<u8> {
    let codes = records
        .iter()
        .map(|(n, text)| format!("<Code id=\"{n}\"><Name xml:lang=\"en\">{}</Name></Code>", escaped(text)));
    let codes: String = codes.collect();
    let blanks = " ".repeat(blanks);
    format!("<Structure>{blanks}<Codelists><Codelist id=\"C\">{codes}</Codelist></Codelists></Structure>").into_bytes()
}

fn forms() -> Vec<Form> {
    let fixed_columns = json!([{"name": "n", "start": 1, "width": 10}, {"name": "t", "start": 11, "width": 99}]);
    let packed = |pack: fn(&[Record], usize) -> Vec<u8>| Form {
        format: json!({"kind": "ndjson", "members": "**"}),
        write: pack,
        buffer: 256 * KIB,
    };
    let compressed = |pack: fn(&[Record], usize) -> Vec<u8>| Form {
        format: json!({"kind": "ndjson"}),
        write: pack,
        buffer: 256 * KIB,
    };
    vec![
        Form { format: json!({"kind": "ndjson"}), write: ndjson, buffer: 4096 * KIB },
        Form { format: json!({"kind": "json", "record_path": "/rows"}), write: document, buffer: 256 * KIB },
        Form {
            format: json!({"kind": "fixed_width", "fixed": fixed_columns, "ragged": "pad", "preamble_lines": 1, "trim": false}),
            write: fixed,
            buffer: 2048 * KIB,
        },
        Form { format: json!({"kind": "sdmx_ml"}), write: sdmx_ml, buffer: 256 * KIB },
        Form { format: json!({"kind": "sdmx_json"}), write: sdmx_json, buffer: 128 * KIB },
        Form {
            format: json!({"kind": "sdmx_csv", "preamble_lines": 1, "delimiter": ","}),
            write: sdmx_csv,
            buffer: 2048 * KIB,
        },
        Form { format: json!({"kind": "sdmx_ml"}), write: structure, buffer: 256 * KIB },
        packed(|records, blanks| zipped(&[("a.json", &ndjson(records, blanks)), ("b.json", b"")])),
        packed(|records, blanks| tar_of(&[("a.json", &ndjson(records, blanks)), ("b.json", b"")])),
        compressed(|records, blanks| gzip(&ndjson(records, blanks))),
        compressed(|records, blanks| bzip2(&ndjson(records, blanks))),
        compressed(|records, blanks| xz(&ndjson(records, blanks))),
        compressed(|records, blanks| zstd(&ndjson(records, blanks))),
    ]
}

/// The rows without what a format adds to them.
fn cells(shown: &str) -> Vec<String> {
    let rows = shown.lines().filter(|line| *line != "[]" && !line.contains("role=self"));
    let cell = |row: &str, names: [&str; 2]| names.iter().find_map(|name| Some(row.split_once(name)?.1.to_owned()));
    rows.map(|row| {
        let number = cell(row, [" n=", "code="]).unwrap_or_default();
        let text = cell(row, [", t=", "label="]).unwrap_or_default();
        let end = |text: &str| text.split_once(", ").map_or(text.to_owned(), |(first, _)| first.to_owned());
        format!("{}|{}", end(&number).trim_end(), end(&text))
    })
    .collect()
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let texts = prop::collection::vec(
        prop::sample::select(vec!["a", "é", "\"", "<", "&", "]", "{", "\\", ";", "x y", "€"]),
        1..6,
    );
    prop::collection::vec((0..1000_u32, texts.prop_map(|parts| parts.concat())), 1..20).prop_map(|mut records| {
        // The codes of a dimension are told apart by their place, so numbers may repeat; codes of a list may not.
        records.sort();
        records.dedup_by_key(|(n, _)| *n);
        records
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_chunking_gives_the_same_rows(records in records(), before in 0..1500_usize, step in 1..40_usize) {
        let expected: Vec<String> = records.iter().map(|(n, text)| format!("{n}|{text}")).collect();
        for Form { format, write, buffer } in forms() {
            let job = job(&format, &json!([]));
            let small = agree(&write(&records, step % 3), job.clone(), step).unwrap();
            prop_assert_eq!(cells(&small), expected.clone(), "{}", &format);
            let pushed = agree(&write(&records, buffer - before), job, 1000 * step + 7).unwrap();
            prop_assert_eq!(pushed, small, "{}", &format);
        }
    }
}
