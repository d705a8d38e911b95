//! JSON: the RFC 8259 suite, records, nested values, and what must fail.

use serde_json::json;

use crate::reading::{check, check_columns, read, read_job, read_shared, shared};

#[test]
fn rfc_8259_suite() {
    let Some(folder) = shared("json/JSONTestSuite") else {
        return;
    };
    let (mut passed, mut failed) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let body = std::fs::read(&path).unwrap();
        let outcome = read(&body, json!({"kind": "json"}));
        match name.as_bytes()[0] {
            // Valid JSON that names a member twice is a fault of that record, not of the file.
            b'y' => {
                let read = outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
                let is_duplicate = name.contains("duplicated_key");
                assert_eq!(read.faults.is_empty(), !is_duplicate, "{name}: {:?}", read.faults);
                passed += 1;
            }
            b'n' => {
                let error = outcome.err().unwrap_or_else(|| panic!("{name} was read"));
                assert!(error.contains("line ") && error.contains("column "), "{name}: {error}");
                failed += 1;
            }
            _ => drop(outcome),
        }
        // As lines: never an error for syntax, always a fault.
        let lines = read(&body, json!({"kind": "ndjson"})).unwrap();
        assert!(
            name.starts_with('y')
                || name.starts_with('i')
                || !lines.faults.is_empty()
                || body.trim_ascii().is_empty()
                || name.contains("BOM_no_data"),
            "{name}"
        );
    }
    assert!(passed > 80 && failed > 170, "{passed} passed, {failed} failed");
}

#[test]
fn documents_give_records() {
    let json = json!({"kind": "json"});
    let at = |path: &str| json!({"kind": "json", "record_path": path});
    check(br#"[{"a": 1, "b": "x"}, {"b": null, "c": true}]"#, json.clone(), "1: a=1, b=x\n2: c=true");
    check(br#"{"a": 1}"#, json.clone(), "1: a=1");
    check(b"\xef\xbb\xbf[{\"a\":1}]", json.clone(), "1: a=1");
    check(b"[]", json.clone(), "");
    check(b"null", json.clone(), "");
    check(b"[[1,\"x\"],[2]]", json.clone(), "1: 0=1, 1=x\n2: 0=2");
    check(b"[1, \"x\"]", json.clone(), "1: value=1\n2: value=x");
    check(br#"{"n": 2, "rows": [{"a": 1}, {"a": 2}], "z": {"rows": []}}"#, at("/rows"), "1: a=1\n2: a=2");
    check(
        br#"{"d": [{"v": [1,2]}, {"v": []}, {"w": [9]}, {"v": [3]}]}"#,
        at("/d/*/v"),
        "1: value=1\n2: value=2\n3: value=3",
    );
    check(br#"{"AL": {"a": 1}, "AK": {"a": 2}}"#, at("/*"), "1: a=1\n2: a=2");
    check(br#"[{"page": 1}, [{"a": 1}]]"#, at("/1"), "1: a=1");
    check(br#"{"rows": null}"#, at("/rows"), "");
    check(br#"{"a/b": {"~": [5]}}"#, at("/a~1b/~0"), "1: value=5");
}

#[test]
fn values_stay_as_written() {
    let exact = r#"{"big": 123456789012345678901234567890, "huge": 1e400, "dec": 0.10, "neg": -0, "n": {"a": [1, 2.50]}, "s": "a\"\u00e4\n"}"#;
    let expected =
        "1: big=123456789012345678901234567890, huge=1e400, dec=0.10, neg=-0, n={\"a\": [1, 2.50]}, s=a\"ä\n";
    check(exact.as_bytes(), json!({"kind": "json"}), expected);
    check(exact.as_bytes(), json!({"kind": "ndjson"}), expected);
}

#[test]
fn broken_documents_name_line_and_column() {
    let json = json!({"kind": "json"});
    let cases = [
        ("[{\"a\": 1},\n {\"a\": NaN}]", "error: `body` is not JSON at line 2, column 8 (record 2): expected value"),
        ("[{\"a\": 1},\n]", "error: `body` is not JSON at line 2, column 1 (record 2): EOF while parsing a value"),
        ("[{\"a\": 1} {\"a\": 2}]", "error: `body` is not JSON at line 1, column 11: expected `,` or `]`"),
        ("[{\"a\": 1}", "error: `body` is not JSON at line 1, column 10: the document ends in its middle"),
        ("[] []", "error: `body` is not JSON at line 1, column 4: something follows the end of the document"),
        ("", "error: `body` is not JSON at line 1, column 1: the document ends in its middle"),
    ];
    for (body, expected) in cases {
        check(body.as_bytes(), json.clone(), expected);
    }
    let wrong_path = json!({"kind": "json", "record_path": "/data"});
    let expected = "error: `body` is not JSON at line 1, column 30: the document has nothing at the record path `/data`; its members are `error`, `code`";
    check(br#"{"error": "no", "code": 404 }"#, wrong_path.clone(), expected);
    check(
        br#"{"data": [], "data": []}"#,
        wrong_path,
        "error: `body` is not JSON at line 1, column 22: the member `data` of the record path appears twice",
    );
    let nested = "[".repeat(250_000);
    let error = read(nested.as_bytes(), json.clone()).unwrap_err();
    assert!(error.contains("line 1, column"), "{error}");
    let closed = format!("[{}{}]", "[".repeat(100_000), "]".repeat(100_000));
    let error = read(closed.as_bytes(), json).unwrap_err();
    assert!(error.contains("nested deeper than 128"), "{error}");
}

#[test]
fn records_that_do_not_fit_are_faults() {
    let lines = json!({"kind": "ndjson"});
    let body = "{\"a\": 1}\n\n{\"a\": }\n{\"a\": 1, \"a\": 2}\n{\"a\": \"\\ud800\"}\n{\"a\": 3}\n";
    let expected = "1: a=1\n6: a=3\n\
        3! it is no JSON at byte 7: expected value\n\
        4! `a` the member appears twice\n\
        5! `a` a text is broken: unexpected end of hex escape at line 1 column 8";
    check(body.as_bytes(), lines.clone(), expected);
    check(
        b"{\"a\": 1}\n{\"a\": \"\xff\"}\n{\"a\": 2}",
        lines.clone(),
        "1: a=1\n3: a=2\n2! it is not UTF-8 at byte 8 of the record",
    );
    let deep = format!("{{\"a\": {}{}}}", "[".repeat(200), "]".repeat(200));
    check(deep.as_bytes(), lines.clone(), "1! `a` nested deeper than 128");
    let large = format!("{{\"a\": \"{}\"}}\n{{\"a\": 1}}", "x".repeat(20 << 20));
    check(large.as_bytes(), lines.clone(), "2: a=1\n1! the record has more than 8388608 bytes");
    let cell = format!("{{\"a\": \"{}\"}}\n{{\"a\": 1}}", "x".repeat(2 << 20));
    check(cell.as_bytes(), lines, "2: a=1\n1! `a` the value has 2097154 bytes, more than 1048576");
}

#[test]
fn declared_columns_are_taken_by_pointer_and_type() {
    let columns = json!([
        {"name": "id", "source": "/indicator/id", "type": "string"},
        {"name": "first", "source": "/xs/0", "type": "int64"},
        {"name": "xs", "source": "xs", "type": "list<int64>"},
        {"name": "who", "type": "struct<name: string, born: date, pay: decimal(6,2)>"},
    ]);
    let body = concat!(
        r#"{"indicator": {"id": "A", "value": "x"}, "xs": [1, 2], "who": {"born": "2001-02-03", "name": "N", "pay": 12.50}}"#,
        "\n",
        r#"{"indicator": null, "xs": null, "more": 1}"#,
        "\n",
        r#"{"indicator": 5, "xs": []}"#,
        "\n",
        r#"{"xs": [1, "z"]}"#,
        "\n",
        r#"{"xs": {"0": 1}}"#,
        "\n",
        r#"{"who": {"pay": 1.005}}"#,
    );
    let expected = "1: /indicator/id=A, /xs/0=1, xs=[1, 2], who={name: N, born: 2001-02-03, pay: 12.50}\n\
        2: more=1\n\
        3! `/indicator` expected an object or array, found `5`\n\
        4! `xs` item 2: expected int64, found `\"z\"`\n\
        5! `xs` expected list<int64>, found `{\"0\": 1}`\n\
        6! `who` `pay`: expected decimal(6,2), found `1.005`";
    check_columns(body.as_bytes(), json!({"kind": "ndjson"}), columns, expected);
}

#[test]
fn too_many_members_are_refused() {
    let body: String = (0..20_000).map(|index| format!("{{\"k{index}\": 1}}\n")).collect();
    let error = read(body.as_bytes(), json!({"kind": "ndjson"})).unwrap_err();
    assert!(error.contains("columns_max of 4096"), "{error}");
}

#[test]
fn many_records_come_in_order() {
    let lines: String =
        (0..60_000).map(|index| format!("{{\"i\": {index}, \"text\": \"row number {index}\"}}\n")).collect();
    let document = format!("[{}]", lines.trim_end().replace('\n', ",\n"));
    for (body, kind) in [(lines, "ndjson"), (document, "json")] {
        let read = read(body.as_bytes(), json!({"kind": kind})).unwrap();
        assert_eq!(read.rows.len(), 60_000);
        for (index, row) in read.rows.iter().enumerate() {
            assert!(row.starts_with(&format!("{}: i={index},", index + 1)), "{row}");
        }
    }
}

#[test]
fn real_documents() {
    let cases = [("usgs/geojson-feed/all_week.geojson", "/features"), ("reference/vega/gapminder.json", "")];
    for (path, record_path) in cases {
        let Some(folder) = shared("") else { return };
        if !folder.join(path).exists() {
            continue;
        }
        let read = read_shared(path, json!({"kind": "json", "record_path": record_path})).unwrap().unwrap();
        assert!(read.rows.len() > 100 && read.faults.is_empty(), "{path}: {} rows", read.rows.len());
    }
    let read = read_shared("frictionless/data/table.ndjson", json!({"kind": "ndjson"})).unwrap().unwrap();
    assert!(!read.rows.is_empty());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn damaged_json_never_panics(at in 0_usize..120, byte: u8, cut in 0_usize..120) {
        let body = br#"{"n": 1, "rows": [{"a": "x\n", "b": [1, {"c": null}]}, {"a": 1e5, "b": true}, {"a": "\u00e4"}]}"#;
        let mut damaged = body.to_vec();
        if let Some(target) = damaged.get_mut(at) {
            *target = byte;
        }
        damaged.truncate(cut.max(1));
        for format in [json!({"kind": "json", "record_path": "/rows"}), json!({"kind": "ndjson"})] {
            let job = crate::reading::job(&format, &json!([{"name": "b", "source": "b", "type": "list<string>"}]));
            drop(read_job(&damaged, job));
        }
    }
}
