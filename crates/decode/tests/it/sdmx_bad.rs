//! Hostile, broken and refusing SDMX messages: a clear error each, quickly, and never a short table.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use hambar_core::Chain;
use hambar_decode::{Input, sdmx};

use crate::sdmx::{job, read_text, shared};

const HEAD: &str = "<m:GenericData xmlns:m=\"m\" xmlns:g=\"g\"><m:DataSet>";

/// `expected` is the error, or the number of rows.
#[track_caller]
fn check(kind: &str, text: &str, expected: &str) {
    let started = Instant::now();
    let found = match read_text(text, kind) {
        Ok(rows) => format!("{} rows", rows.len()),
        Err(error) => Chain(&error).to_string(),
    };
    assert_eq!(found, expected);
    // Reliability F9: hostile messages are refused within a second (an order more here, for loaded machines).
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn document_types_are_refused() {
    let refused = "`<!DOCTYPE` is refused: entities and external definitions are never read";
    for (text, offset) in [
        ("<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><GenericData>&x;</GenericData>", 0),
        ("<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY % x SYSTEM \"http://h/\"> %x;]><GenericData/>", 21),
    ] {
        check("sdmx_ml", text, &format!("`body` is not SDMX-ML at byte {offset}: {refused}"));
    }
    check(
        "sdmx_ml",
        &format!("{HEAD}<g:Obs><g:ObsValue value=\"&lol;\"/></g:Obs></m:DataSet></m:GenericData>"),
        "`body` is not SDMX-ML at byte 84: record 1: at 1..4: unrecognized entity `lol`",
    );
}

#[test]
fn endless_messages_are_refused_early() {
    let nested = format!("{HEAD}{}", "<g:a>".repeat(200_000));
    check("sdmx_ml", &nested, "`body`: XML depth limit of 256 elements reached at byte 1325");
    let many: String = (0..80_000).map(|number| format!(" a{number}=\"\"")).collect();
    check(
        "sdmx_ml",
        &format!("<GenericData{many}></GenericData>"),
        "`body`: XML attribute limit of 4096 attributes of one element reached at byte 788903",
    );
    let spaces: String = (0..200_000).map(|number| format!(" xmlns:a{number}=\"u\"")).collect();
    check(
        "sdmx_ml",
        &format!("<GenericData{spaces}></GenericData>"),
        "`body`: XML attribute limit of 4096 attributes of one element reached at byte 3488903",
    );
}

/// A gigabyte of text that nobody had to write down.
struct Endless {
    head: &'static [u8],
    left: u64,
}

impl Read for Endless {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !self.head.is_empty() {
            return self.head.read(into);
        }
        let length = into.len().min(usize::try_from(self.left).unwrap());
        into[..length].fill(b'a');
        self.left -= length as u64;
        Ok(length)
    }
}

#[test]
fn a_gigabyte_of_text_is_refused_after_four_megabytes() {
    let started = Instant::now();
    let stream = Endless { head: b"<GenericData><Header>", left: 1 << 30 };
    let mut source = sdmx::open(Input::Stream(Box::new(stream)), &job("sdmx_ml"), None).unwrap();
    let error = source.next_batch().unwrap_err();
    assert_eq!(error.to_string(), "`body`: XML element limit of 4194304 bytes reached at byte 21");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_batch_never_ends_in_the_middle_of_an_observation() {
    // The series' cell is repeated into every row; the own one of the twelfth makes the batch full.
    let (of_series, own) = ("x".repeat(1_000_000), "x".repeat(500_000));
    let series = format!("<g:Series><g:SeriesKey><g:Value id=\"S\" value=\"{of_series}\"/></g:SeriesKey>");
    let row = format!("<g:Obs><g:ObsDimension value=\"{own}\"/><g:ObsValue value=\"1\"/></g:Obs>");
    let text = format!("{HEAD}{series}{}</g:Series></m:DataSet></m:GenericData>", row.repeat(14));
    check("sdmx_ml", &text, "14 rows");
}

#[test]
fn truncated_messages_are_refused_wherever_they_end() {
    let whole = format!(
        "{HEAD}<g:Series><g:SeriesKey><g:Value id=\"FREQ\" value=\"A\"/></g:SeriesKey><g:Obs><g:ObsDimension \
         value=\"2024\"/><g:ObsValue value=\"1\"/></g:Obs></g:Series></m:DataSet></m:GenericData>"
    );
    check("sdmx_ml", &whole, "1 rows");
    for end in 1..whole.len() {
        assert!(read_text(&whole[..end], "sdmx_ml").is_err(), "cut at {end}");
    }
    let json = r#"{"structure":{"dimensions":{"observation":[{"id":"T","values":[{"id":"2024"}]}]}},"dataSets":[{"observations":{"0":[1]}}]}"#;
    check("sdmx_json", json, "1 rows");
    for end in 1..json.len() {
        assert!(read_text(&json[..end], "sdmx_json").is_err(), "cut at {end}");
    }
}

#[test]
fn malformed_messages_are_refused_with_their_place() {
    let at = "`body` is not SDMX-ML at byte";
    check("sdmx_ml", "{}", &format!("{at} 0: it does not begin with `<`"));
    check("sdmx_ml", "", &format!("{at} 0: there is no element"));
    check(
        "sdmx_ml",
        "<html><body/></html>",
        &format!("{at} 6: `html` is not a data or structure message; ask for generic or structure-specific data"),
    );
    check(
        "sdmx_ml",
        &format!("{HEAD}<g:Obs><g:ObsValue value=\"1\"/><g:ObsValue value=\"2\"/></g:Obs></m:DataSet></m:GenericData>"),
        &format!("{at} 103: record 1: `OBS_VALUE` is given twice for one observation"),
    );
    check(
        "sdmx_ml",
        "<GenericData><Header><Structure structureID=\"S\"/></Header><DataSet structureRef=\"X\"/></GenericData>",
        &format!("{at} 85: record 1: the data set refers to the structure `X`, which the header does not declare"),
    );
    check("sdmx_ml", "<GenericData><a></b></GenericData>", &format!("{at} 20: `</b>` where `</a>` should be"));
    check(
        "sdmx_ml",
        "<CompactData><DataSet><Series a></DataSet>",
        &format!("{at} 32: record 1: a malformed attribute"),
    );
    check("sdmx_ml", "<CompactData><DataSet a=\"1\"b=\"2\"/>", &format!("{at} 34: record 1: a malformed attribute"));
    check("sdmx_ml", "<CompactData><DataSet a=\"<\"/>", "`body` is not SDMX-ML at byte 13: a `<` inside a tag");
    check("sdmx_ml", "<GenericData></GenericData><GenericData/>", &format!("{at} 41: a second root element"));
    check(
        "sdmx_json",
        r#"{"structure":{"dimensions":{"observation":[{"id":"T","values":[{"id":"2024"}]}]}},"dataSets":[{"observations":{"7":[1]}}]}"#,
        "`body` is not SDMX-JSON at line 1, column 119: `T` has 1 values, the key `7` points beyond them at line 1 column 119",
    );
    check("sdmx_json", "{}", "`body` is not SDMX-JSON at the structure: neither data nor structures are in it");
    check(
        "sdmx_json",
        &"[".repeat(250_000),
        "`body` is not SDMX-JSON at line 1, column 7: invalid type: sequence, expected a string at line 1 column 7",
    );
}

#[test]
fn encodings_are_heeded() {
    let text = "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><CompactData><DataSet><Series A=\"caf\u{e9}\"><Obs/></Series></DataSet></CompactData>";
    let latin: Vec<u8> = text.chars().map(|character| character as u8).collect();
    let wide: Vec<u8> = [0xFFFE_u16.swap_bytes()]
        .into_iter()
        .chain(text.replace("ISO-8859-1", "UTF-16").encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    for bytes in [latin, wide] {
        let rows = crate::sdmx::read(Input::Stream(Box::new(io::Cursor::new(bytes))), "sdmx_ml").unwrap();
        assert_eq!(rows[0]["A"], "caf\u{e9}");
    }
    check(
        "sdmx_ml",
        "<?xml version=\"1.0\" encoding=\"klingon\"?><GenericData/>",
        "`body` is not SDMX-ML at the XML declaration: its encoding is not known",
    );
}

#[test]
fn footers_and_error_messages_are_errors() {
    let Some(folder) = shared() else { return };
    let read = |file: &str| read_text(&std::fs::read_to_string(folder.join(file)).unwrap(), "sdmx_ml").unwrap_err();
    assert_eq!(
        read("sdmx-dl/MessageFooter.xml").to_string(),
        "the answer is an error message: 413: Response too large due to client request Query size exceeds maximum limit (1000000 entries)."
    );
    for file in [
        "sdmx-test-data/ESTAT/footer.xml",
        "sdmx-test-data/ESTAT/footer2.xml",
        "rsdmx-2.0-2.1/SDMXMessageExample_2.1.xml",
    ] {
        assert!(read(file).to_string().starts_with("the answer is an error message: 413: "), "{file}");
    }
    let rows = "<Obs><ObsValue value=\"1\"/></Obs>";
    let with = |code: &str, severity: &str| {
        format!(
            "<GenericData><DataSet>{rows}</DataSet><Footer><Message code=\"{code}\" severity=\"{severity}\">\
             <Text>t</Text></Message></Footer></GenericData>"
        )
    };
    check("sdmx_ml", &with("100", "Information"), "1 rows");
    check("sdmx_ml", &with("510", "Warning"), "the answer is an error message: 510: t");
    check("sdmx_ml", &with("", "Error"), "the answer is an error message: : t");
    check(
        "sdmx_ml",
        "<m:Error xmlns:m=\"m\"><m:ErrorMessage code=\"150\"><c:Text>Invalid key</c:Text></m:ErrorMessage></m:Error>",
        "the answer is an error message: 150: Invalid key",
    );
}
