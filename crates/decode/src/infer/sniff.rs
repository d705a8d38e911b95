//! What a body is, from its first bytes.

use std::io::Read;

use crate::encoding::utf8_reader;
use crate::spec::{Archive, Compression, FormatKind};
use crate::{archive, compress};

/// What the first bytes look like. Several can be set: a gzip file says nothing about what is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sniffed {
    /// The format, unless it is hidden by compression or an archive, or is none that can be read (HTML).
    pub kind: Option<FormatKind>,
    /// Compression around the file.
    pub compression: Option<Compression>,
    /// Archive around the file.
    pub archive: Option<Archive>,
}

/// Says what `first_bytes` (some kilobytes) look like.
pub fn sniff(first_bytes: &[u8]) -> Sniffed {
    let starts = |magic: &[u8]| first_bytes.starts_with(magic);
    let format = |kind| Sniffed { kind: Some(kind), ..Sniffed::default() };
    match (compress::sniff(first_bytes), archive::sniff(first_bytes)) {
        (Compression::None | Compression::Auto, None) => {}
        (Compression::None | Compression::Auto, Some(Archive::Zip)) => return zip(first_bytes),
        (Compression::None | Compression::Auto, tar) => return Sniffed { archive: tar, ..Sniffed::default() },
        (compression, _) => return Sniffed { compression: Some(compression), ..Sniffed::default() },
    }
    if starts(b"PAR1") {
        return format(FormatKind::Parquet);
    }
    if starts(b"ARROW1") || starts(b"\xff\xff\xff\xff") {
        return format(FormatKind::Arrow);
    }
    if starts(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
        return format(FormatKind::Xls);
    }
    Sniffed { kind: text_kind(&text(first_bytes)), ..Sniffed::default() }
}

fn zip(first_bytes: &[u8]) -> Sniffed {
    let contains = |part: &[u8]| memchr::memmem::find(first_bytes, part).is_some();
    let kind = if contains(b"opendocument.spreadsheet") {
        Some(FormatKind::Ods)
    } else if contains(b"[Content_Types].xml") || contains(b"xl/") {
        Some(FormatKind::Xlsx)
    } else {
        None
    };
    let archive = kind.is_none().then_some(Archive::Zip);
    Sniffed { kind, compression: None, archive }
}

/// Returns the bytes as text as far as they can be read.
pub(super) fn text(bytes: &[u8]) -> String {
    let mut read = Vec::new();
    if let Ok((mut reader, _)) = utf8_reader(Box::new(std::io::Cursor::new(bytes.to_vec())), None, "body") {
        // The bytes may end in the middle of a character: what was read until then is enough.
        let _cut_short = reader.read_to_end(&mut read);
    }
    String::from_utf8_lossy(&read).into_owned()
}

fn text_kind(text: &str) -> Option<FormatKind> {
    let text = text.trim_start();
    if text.starts_with('{') || text.starts_with('[') {
        return Some(json_kind(text));
    }
    if text.starts_with('<') {
        let is_sdmx = text.contains("sdmx.org/resources/sdmxml");
        return is_sdmx.then_some(FormatKind::SdmxMl);
    }
    let line = text.lines().next().unwrap_or_default();
    let first_cell = line.split([',', ';']).next().unwrap_or_default().trim_matches('"');
    let is_sdmx = (first_cell == "DATAFLOW" || first_cell == "STRUCTURE") && line.contains("OBS_VALUE");
    if is_sdmx {
        return Some(FormatKind::SdmxCsv);
    }
    let is_tabbed = line.matches('\t').count() > line.matches([',', ';']).count();
    Some(if is_tabbed { FormatKind::Tsv } else { FormatKind::Csv })
}

fn json_kind(text: &str) -> FormatKind {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let (first, second) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let is_whole = |line: &str| line.starts_with('{') && serde_json::from_str::<serde_json::Value>(line).is_ok();
    if is_whole(first) && second.starts_with('{') {
        return FormatKind::Ndjson;
    }
    let is_sdmx = text.contains("\"dataSets\"") && (text.contains("\"structure\"") || text.contains("\"structures\""));
    let is_sdmx = is_sdmx || text.contains("sdmx-json");
    if is_sdmx { FormatKind::SdmxJson } else { FormatKind::Json }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        for (bytes, kind) in [
            (b"a,b\n1,2\n".as_slice(), Some(FormatKind::Csv)),
            (b"a\tb\n1\t2\n", Some(FormatKind::Tsv)),
            (b"\xff\xfea\0\t\0b\0", Some(FormatKind::Tsv)),
            (b"{\"a\":1}\n{\"a\":2}\n", Some(FormatKind::Ndjson)),
            (b"[{\"a\":1}]", Some(FormatKind::Json)),
            (b"DATAFLOW,FREQ,TIME_PERIOD,OBS_VALUE\n", Some(FormatKind::SdmxCsv)),
            (b"<html><body>Not found", None),
            (b"PAR1....", Some(FormatKind::Parquet)),
        ] {
            assert_eq!(sniff(bytes).kind, kind, "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(sniff(b"\x1f\x8b\x08").compression, Some(Compression::Gzip));
        assert_eq!(sniff(b"BZh is a name,1\n").kind, Some(FormatKind::Csv));
        assert_eq!(sniff(b"PK\x03\x04....data.csv").archive, Some(Archive::Zip));
    }
}
