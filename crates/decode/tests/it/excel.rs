//! Workbooks: hand-made parts, real ones, and ones that announce absurd sizes.

use std::io::{Cursor, Write};

use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

use crate::reading::{check, read, read_shared, shared};

const TYPES: &str = r#"<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="xml" ContentType="application/xml"/></Types>"#;
const RELS: &str = r#"<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>"#;
const BOOK: &str = r#"<?xml version="1.0"?><workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets><sheet name="Data" sheetId="1" r:id="rId1"/></sheets></workbook>"#;
const BOOK_RELS: &str = r#"<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/></Relationships>"#;
const STYLES: &str = r#"<?xml version="1.0"?><styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>"#;

pub(crate) fn zip_of(parts: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, body) in parts {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(body.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// An xlsx whose only sheet has this `sheetData`, with `strings` for its root element of shared strings.
pub(crate) fn xlsx(rows: &str, strings: &str) -> Vec<u8> {
    let main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    let sheet = format!(r#"<?xml version="1.0"?><worksheet xmlns="{main}"><sheetData>{rows}</sheetData></worksheet>"#);
    let strings = format!(r#"<?xml version="1.0"?><sst xmlns="{main}" {strings}</sst>"#);
    zip_of(&[
        ("[Content_Types].xml", TYPES),
        ("_rels/.rels", RELS),
        ("xl/workbook.xml", BOOK),
        ("xl/_rels/workbook.xml.rels", BOOK_RELS),
        ("xl/styles.xml", STYLES),
        ("xl/sharedStrings.xml", &strings),
        ("xl/worksheets/sheet1.xml", &sheet),
    ])
}

pub(crate) fn text(cell: &str, value: &str) -> String {
    format!(r#"<c r="{cell}" t="inlineStr"><is><t>{value}</t></is></c>"#)
}

fn kind(kind: &str) -> Value {
    json!({"kind": kind})
}

pub(crate) const STRINGS: &str = r#"count="1" uniqueCount="1"><si><t>name</t></si>"#;

#[test]
fn sheets_are_records() {
    let rows = format!(
        "<row r=\"1\">{}</row><row r=\"3\"><c r=\"A3\" t=\"s\"><v>0</v></c>{}{}</row>\
         <row r=\"4\">{}<c r=\"B4\"><v>42</v></c><c r=\"C4\" s=\"1\"><v>45943</v></c></row>\
         <row r=\"6\"><c r=\"A6\" t=\"e\"><v>#N/A</v></c><c r=\"B6\"><v>0.10000000000000001</v></c><c r=\"C6\" t=\"b\"><v>1</v></c></row>\
         <row r=\"7\">{}</row><row r=\"8\">{}</row>",
        text("A1", "A title"),
        text("B3", "x"),
        text("C3", "x"),
        text("A4", " one "),
        text("D7", "beyond"),
        text("A8", "Source: us"),
    );
    let body = xlsx(&rows, STRINGS);
    let format = json!({"kind": "xlsx", "preamble_lines": 2, "footer_lines": 1});
    let read_all = read(&body, format).unwrap();
    assert_eq!(read_all.text(), "1: name=one, x=42, x (2)=2025-10-13\n3: name=#N/A, x=0.1, x (2)=true");
    assert_eq!(read_all.faults.len(), 1);
    assert_eq!((read_all.faults[0].record, read_all.faults[0].reason.as_str()), (4, "4 cells, the header has 3"));
    let pattern = json!({"kind": "xlsx", "preamble_lines": 2, "footer_pattern": "^Source", "sheet": "Data"});
    assert_eq!(read(&body, pattern).unwrap().text(), read_all.text());
    let none = json!({"kind": "xlsx", "header_lines": 0, "preamble_lines": 3});
    assert!(read(&body, none).unwrap().text().starts_with("1: column_1=one, column_2=42, column_3=2025-10-13"));
    let two = json!({"kind": "xlsx", "header_lines": 2, "footer_pattern": "^Source"});
    assert_eq!(read(&body, two).unwrap().columns, ["A title name", "x", "x (2)"]);
    let error = read(&body, json!({"kind": "xlsx", "sheet": "Nope"})).unwrap_err();
    assert_eq!(error, "setting `format.sheet`: no worksheet `Nope`; the workbook has `Data`");
}

#[test]
fn absurd_announcements_are_refused() {
    let row = format!("<row r=\"1\">{}</row>", text("A1", "x"));
    for count in ["1000000000", "1000000000000", "9223372036854775808", "99999999999999999999999"] {
        let body = xlsx(&row, &format!("count=\"1\" uniqueCount=\"{count}\"><si><t>x</t></si>"));
        let error = read(&body, kind("xlsx")).unwrap_err();
        assert!(error.contains("shared strings"), "{count}: {error}");
    }
    let far = format!("{row}<row r=\"1048576\">{}</row>", text("XFD1048576", "x"));
    let error = read(&xlsx(&far, STRINGS), kind("xlsx")).unwrap_err();
    assert!(error.contains("columns_max of 4096"), "{error}");
    let deep = format!("{row}<row r=\"100000\">{}</row>", text("A100000", "y"));
    check(&xlsx(&deep, STRINGS), kind("xlsx"), "99999: x=y");

    let cell = r#"<table:table-cell office:value-type="string"><text:p>x</text:p></table:table-cell>"#;
    let content = format!(
        r#"<?xml version="1.0"?><office:document-content xmlns:office="o" xmlns:table="t" xmlns:text="x"><office:body><office:spreadsheet><table:table table:name="A"><table:table-row table:number-rows-repeated="1000000"><table:table-cell table:number-columns-repeated="16000"/>{cell}</table:table-row></table:table></office:spreadsheet></office:body></office:document-content>"#
    );
    let manifest = r#"<?xml version="1.0"?><manifest:manifest xmlns:manifest="m"/>"#;
    let body = zip_of(&[
        ("mimetype", "application/vnd.oasis.opendocument.spreadsheet"),
        ("META-INF/manifest.xml", manifest),
        ("content.xml", &content),
    ]);
    let error = read(&body, kind("ods")).unwrap_err();
    assert!(error.contains("cells of an ods of 10000000"), "{error}");
}

#[test]
fn compound_files_in_a_circle_are_refused() {
    let Some(path) = shared("excel/readxl/iris-excel-xls.xls") else { return };
    let whole = std::fs::read(path).unwrap();
    let u32_at = |at: usize| u32::from_le_bytes(whole[at..at + 4].try_into().unwrap()) as usize;
    let (table, directory) = ((u32_at(76) + 1) * 512, u32_at(48));
    let mut circle = whole.clone();
    circle[table + directory * 4..][..4].copy_from_slice(&whole[48..52]);
    let error = read(&circle, kind("xls")).unwrap_err();
    assert!(error.contains("its directory goes in a circle"), "{error}");
    let mut long = whole.clone();
    long[(directory + 1) * 512 + 120..][..4].copy_from_slice(&[0xff; 4]);
    let error = read(&long, kind("xls")).unwrap_err();
    assert!(error.contains("a stream announces 4294967295 bytes"), "{error}");
    // The only two rows of this one are the last two that a sheet can have.
    let last = read_shared("excel/readxl/65536-rows-xls.xls", kind("xls")).unwrap().unwrap();
    assert_eq!(last.text(), "1: HELLO=WORLD");
}

#[test]
fn real_workbooks() {
    let Some(folder) = shared("excel/readxl") else {
        return;
    };
    let (mut rows, mut refused) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let Some((_, extension)) = name.rsplit_once('.').filter(|(_, extension)| extension.starts_with("xls")) else {
            continue;
        };
        match read_shared(&format!("excel/readxl/{name}"), kind(extension)).unwrap() {
            Ok(read) => rows += read.rows.len(),
            Err(error) => refused.push(format!("{name}: {error}")),
        }
    }
    assert!(refused.is_empty(), "{refused:#?}");
    assert!(rows > 500, "{rows} rows");
}

#[test]
fn real_cells() {
    let cases = [
        (
            "excel/readxl/datasets.xlsx",
            kind("xlsx"),
            "1: mpg=21, cyl=6, disp=160, hp=110, drat=3.9, wt=2.62, qsec=16.46, vs=0, am=1, gear=4, carb=4",
        ),
        (
            "excel/readxl/iris-excel-xls.xls",
            kind("xls"),
            "1: Sepal.Length=5.1, Sepal.Width=3.5, Petal.Length=1.4, Petal.Width=0.2, Species=setosa",
        ),
        ("frictionless/data/table-with-booleans.ods", kind("ods"), "1: id=1, boolean=true"),
    ];
    for (path, format, first) in cases {
        let Some(read) = read_shared(path, format) else { return };
        assert_eq!(read.unwrap().rows[0], first, "{path}");
    }
    let plants = json!({"kind": "xlsx", "preamble_lines": 1});
    let read = read_shared("excel/wri-sources/2___Plant_Y2017.xlsx", plants).unwrap().unwrap();
    assert!(read.rows.len() > 9000 && read.columns[2] == "Plant Code", "{} {:?}", read.rows.len(), read.columns);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
    #[test]
    fn damaged_workbooks_never_panic(at in 0_usize..4000, bit in 0_u32..8, cut in 100_usize..4000) {
        let mut body = xlsx(&format!("<row r=\"1\">{}</row><row r=\"2\">{}</row>", text("A1", "x"), text("A2", "y")), STRINGS);
        let length = body.len();
        body[at % length] ^= 1 << bit;
        body.truncate(cut);
        drop(read(&body, kind("xlsx")));
    }
}
