//! Reads manifests: lists of files with sizes, digests and dates. Pure but for the open file: bytes in, entries out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use regex::Regex;
use serde::{Deserialize, Serialize};
use url::Url;

use super::spec::{ManifestFormat, ManifestSpec};
use crate::json::Pointer;
use crate::template::SLICES_MAX;

/// Bytes of one line of a text manifest.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Bytes of a JSON manifest: it is held in memory while it is read.
const JSON_BYTES_MAX: u64 = 64 * hambar_core::limits::MIB;

/// One file to fetch; the text of `Slice::detail`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct FileEntry {
    pub(crate) url: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) constants: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) md5: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<String>,
    /// What the catalogue says about the last change: a date, else a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mark: Option<String>,
    /// An equal mark proves that the file has not changed.
    #[serde(default)]
    pub(crate) trust_mark: bool,
}

/// A manifest that was compiled from its spec.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    pub(crate) spec: ManifestSpec,
    base: Url,
    include: Option<Regex>,
    exclude: Option<Regex>,
}

/// One entry's texts, before they are checked.
#[derive(Default)]
struct Texts {
    link: Option<String>,
    size: Option<String>,
    md5: Option<String>,
    sha256: Option<String>,
    date: Option<String>,
}

impl Manifest {
    /// Compiles the spec.
    pub(crate) fn new(spec: ManifestSpec) -> Result<Self, (String, String)> {
        let pattern = |key: &str, text: &Option<String>| {
            text.as_deref().map(Regex::new).transpose().map_err(|error| (key.to_owned(), error.to_string()))
        };
        let base = crate::body::web_url(&spec.url).map_err(|what| ("manifest.url".to_owned(), what))?;
        let include = pattern("manifest.include", &spec.include)?;
        let exclude = pattern("manifest.exclude", &spec.exclude)?;
        Ok(Self { spec, base, include, exclude })
    }

    /// Reads the entries out of a landed manifest, in the list's order (by date where there is one).
    ///
    /// # Errors
    /// What is wrong and where, in words.
    pub(crate) fn read(&self, file: File) -> Result<Vec<FileEntry>, String> {
        let mut chosen =
            Chosen { entries: VecDeque::new(), known: BTreeSet::new(), newest: self.newest_in_list_order() };
        match self.spec.format {
            ManifestFormat::Text => self.read_text(file, &mut chosen)?,
            ManifestFormat::Csv => self.read_csv(file, &mut chosen)?,
            ManifestFormat::Json => self.read_json(file, &mut chosen)?,
        }
        let mut entries = Vec::from(chosen.entries);
        if self.spec.date.is_some() {
            entries.sort_by(|left, right| left.mark.cmp(&right.mark));
        }
        if let Some(newest) = self.spec.newest {
            entries.drain(..entries.len().saturating_sub(newest));
        }
        Ok(entries)
    }

    fn newest_in_list_order(&self) -> Option<usize> {
        if self.spec.date.is_none() { self.spec.newest } else { None }
    }

    fn read_text(&self, file: File, chosen: &mut Chosen) -> Result<(), String> {
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            let read =
                reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
            if read == 0 {
                break;
            }
            if read as u64 == LINE_BYTES_MAX {
                return Err(format!("line {number} is longer than {LINE_BYTES_MAX} bytes"));
            }
            let text = String::from_utf8_lossy(&line);
            let words: Vec<&str> = text.split_whitespace().collect();
            // GDELT's list has a few lines with the address only or with nothing; a line without the link is no entry.
            let word = |place: &Option<String>| {
                let place: usize = place.as_deref()?.parse().ok()?;
                words.get(place.checked_sub(1)?).map(|word| (*word).to_owned())
            };
            let texts = Texts {
                link: word(&Some(self.spec.link.clone())),
                size: word(&self.spec.size),
                md5: word(&self.spec.md5),
                sha256: word(&self.spec.sha256),
                date: word(&self.spec.date),
            };
            if words.is_empty() || texts.link.is_none() {
                continue;
            }
            self.take(texts, &format!("line {number}"), chosen)?;
        }
        Ok(())
    }

    fn read_csv(&self, file: File, chosen: &mut Chosen) -> Result<(), String> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(BufReader::new(file));
        let header: Vec<String> = reader
            .byte_headers()
            .map_err(|error| error.to_string())?
            .iter()
            .map(|cell| String::from_utf8_lossy(cell).trim_start_matches('\u{feff}').trim().to_owned())
            .collect();
        let place = |name: &Option<String>| -> Result<Option<usize>, String> {
            let Some(name) = name else { return Ok(None) };
            let found = header.iter().position(|cell| cell == name);
            found.map(Some).ok_or_else(|| format!("no column `{name}`; there are: {}", header.join(", ")))
        };
        let link = place(&Some(self.spec.link.clone()))?;
        let (size, md5) = (place(&self.spec.size)?, place(&self.spec.md5)?);
        let (sha256, date) = (place(&self.spec.sha256)?, place(&self.spec.date)?);
        let mut record = csv::ByteRecord::new();
        for number in 1_u64.. {
            if !reader.read_byte_record(&mut record).map_err(|error| error.to_string())? {
                break;
            }
            let cell = |place: Option<usize>| {
                place.and_then(|place| record.get(place)).map(|cell| String::from_utf8_lossy(cell).trim().to_owned())
            };
            let texts =
                Texts { link: cell(link), size: cell(size), md5: cell(md5), sha256: cell(sha256), date: cell(date) };
            self.take(texts, &format!("record {number}"), chosen)?;
        }
        Ok(())
    }

    fn read_json(&self, file: File, chosen: &mut Chosen) -> Result<(), String> {
        let mut text = Vec::new();
        file.take(JSON_BYTES_MAX + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
        if text.len() as u64 > JSON_BYTES_MAX {
            return Err(format!("is longer than {JSON_BYTES_MAX} bytes"));
        }
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
        let document: serde_json::Value = match serde_json::from_slice(text) {
            Ok(document) => document,
            Err(error) if std::str::from_utf8(text).is_err() => {
                // FAOSTAT's list once came in windows-1252; addresses are ASCII, so lossy text is good enough here.
                serde_json::from_str(&String::from_utf8_lossy(text)).map_err(|_| error.to_string())?
            }
            Err(error) => return Err(error.to_string()),
        };
        let root = Pointer::root();
        let path = self.spec.record_path.as_ref().unwrap_or(&root);
        let found = document.pointer(path.as_str()).and_then(serde_json::Value::as_array);
        let entries = found.ok_or_else(|| format!("no array of entries at `{path}`"))?;
        for (index, entry) in entries.iter().enumerate() {
            let cell = |place: &Option<String>| match entry.pointer(place.as_deref()?)? {
                serde_json::Value::String(text) => Some(text.trim().to_owned()),
                serde_json::Value::Number(number) => Some(number.to_string()),
                _ => None,
            };
            let texts = Texts {
                link: cell(&Some(self.spec.link.clone())),
                size: cell(&self.spec.size),
                md5: cell(&self.spec.md5),
                sha256: cell(&self.spec.sha256),
                date: cell(&self.spec.date),
            };
            self.take(texts, &format!("entry {}", index + 1), chosen)?;
        }
        Ok(())
    }

    fn take(&self, texts: Texts, place: &str, chosen: &mut Chosen) -> Result<(), String> {
        let Some(mut link) = texts.link.filter(|link| !link.is_empty()) else {
            return Err(format!("{place}: no address at `{}`", self.spec.link));
        };
        if let Some((from, to)) = &self.spec.rewrite {
            link = link.replacen(from.as_str(), to, 1);
        }
        let url = self.base.join(&link).map_err(|error| format!("{place}: `{link}`: {error}"))?;
        let address = url.to_string();
        if self.exclude.as_ref().is_some_and(|exclude| exclude.is_match(&address)) {
            return Ok(());
        }
        let mut constants = BTreeMap::new();
        if let Some(include) = &self.include {
            let Some(groups) = include.captures(&address) else { return Ok(()) };
            for name in include.capture_names().flatten() {
                constants.insert(name.to_owned(), groups.name(name).map_or("", |group| group.as_str()).to_owned());
            }
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("{place}: `{link}` is no web address; use `manifest.rewrite`"));
        }
        let size = match texts.size.filter(|size| !size.is_empty()) {
            Some(size) => Some(size.parse().map_err(|_| format!("{place}: size `{size}` is not a number of bytes"))?),
            None => None,
        };
        let md5 = digest(texts.md5, 32, place)?;
        let sha256 = digest(texts.sha256, 64, place)?;
        let mark = texts.date.filter(|date| !date.is_empty()).or_else(|| sha256.clone()).or_else(|| md5.clone());
        let trust_mark = self.spec.trust_dates;
        chosen.push(FileEntry { url: address, constants, size, md5, sha256, mark, trust_mark }, place)
    }
}

fn digest(text: Option<String>, digits: usize, place: &str) -> Result<Option<String>, String> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    if text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(Some(text.to_lowercase()))
    } else {
        Err(format!("{place}: `{text}` is not a digest of {digits} hex digits"))
    }
}

/// The entries that passed the filters; no more than `newest` are held where that is known at once.
struct Chosen {
    entries: VecDeque<FileEntry>,
    known: BTreeSet<String>,
    newest: Option<usize>,
}

impl Chosen {
    fn push(&mut self, entry: FileEntry, place: &str) -> Result<(), String> {
        if !self.known.insert(entry.url.clone()) {
            return Err(format!("{place}: `{}` is listed twice", entry.url));
        }
        self.entries.push_back(entry);
        if self.newest.is_some_and(|newest| self.entries.len() > newest)
            && let Some(oldest) = self.entries.pop_front()
        {
            self.known.remove(&oldest.url);
        }
        if self.entries.len() > SLICES_MAX {
            return Err(format!("more than {SLICES_MAX} files; narrow it with `include` or `newest`"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    fn check(spec: &str, manifest: &str, expected: &str) {
        let spec: ManifestSpec = toml::from_str(&format!("url = \"https://p.org/list/all\"\n{spec}")).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(manifest.as_bytes()).unwrap();
        file.rewind().unwrap();
        let found = match Manifest::new(spec).unwrap().read(file) {
            Ok(entries) => entries
                .iter()
                .map(|entry| format!("{} {:?} {:?} {:?}", entry.url, entry.size, entry.mark, entry.constants))
                .collect::<Vec<_>>()
                .join("\n"),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(found, expected);
    }

    const GDELT: &str = "format = \"text\"\nlink = \"3\"\nsize = \"1\"\nmd5 = \"2\"\n";

    #[test]
    fn gdelt_lists_are_read_and_filtered() {
        let list = "134780 f9a0f6f4c7b1e0b1a2c3d4e5f6a7b8c9 http://d.org/20150218.export.CSV.zip\n\
            318084 f9a0f6f4c7b1e0b1a2c3d4e5f6a7b8c8 http://d.org/20150218.gkg.csv.zip\n\n\
            134781 f9a0f6f4c7b1e0b1a2c3d4e5f6a7b8c7 http://d.org/20150219.export.CSV.zip\n";
        check(
            &format!("{GDELT}include = '(?P<day>\\d{{8}})\\.export'\nnewest = 1"),
            list,
            "http://d.org/20150219.export.CSV.zip Some(134781) Some(\"f9a0f6f4c7b1e0b1a2c3d4e5f6a7b8c7\") {\"day\": \"20150219\"}",
        );
        check(GDELT, "x f9 http://d.org/a", "error: line 1: size `x` is not a number of bytes");
        check(GDELT, "1 f9 http://d.org/a", "error: line 1: `f9` is not a digest of 32 hex digits");
        let twice = "format = \"text\"\nlink = \"1\"";
        check(twice, "a.csv\na.csv\n", "error: line 2: `https://p.org/list/a.csv` is listed twice");
    }

    #[test]
    fn json_and_csv_lists_are_read() {
        check(
            "format = \"json\"\nrecord_path = \"/Datasets/Dataset\"\nlink = \"/FileLocation\"\ndate = \"/DateUpdate\"\nnewest = 1",
            r#"{"Datasets":{"Dataset":[{"FileLocation":"b.zip","DateUpdate":"2024-02"},{"FileLocation":"a.zip","DateUpdate":"2023-12"}]}}"#,
            "https://p.org/list/b.zip None Some(\"2024-02\") {}",
        );
        check(
            "format = \"csv\"\nlink = \"url\"\nsize = \"bytes\"\nrewrite = [\"s3://b/\", \"https://b.s3.org/\"]",
            "\u{feff}bytes,url\n5,s3://b/x.gz\n",
            "https://b.s3.org/x.gz Some(5) None {}",
        );
        check("format = \"csv\"\nlink = \"href\"", "url\nx\n", "error: no column `href`; there are: url");
        check("format = \"json\"\nlink = \"/x\"", "{}", "error: no array of entries at ``");
        check(
            "format = \"csv\"\nlink = \"url\"",
            "url\ns3://b/x\n",
            "error: record 1: `s3://b/x` is no web address; use `manifest.rewrite`",
        );
    }
}
