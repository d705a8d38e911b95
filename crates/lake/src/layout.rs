//! Where the data files of a partition lie: in folders named `column=value`, one below the other, as delta-rs writes them.
//!
//! The values in the log decide what rows belong to; the folders are for readers that take the values from the path
//! (Polars' own reader does) and for people. Tables of older versions have all files in the table's folder.

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::partition::PartitionValues;

/// What the folder of NULL is called. Readers of folder names take this text for NULL however it is written.
pub(crate) const NULL: &str = "__HIVE_DEFAULT_PARTITION__";
/// What file systems take as one name.
const NAME_BYTES_MAX: usize = 255;
/// Everything that is not unreserved in a URI; texts that are not ASCII grow to three times their bytes.
const STRICT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What a folder's name cannot hold, or other readers would misread; texts that are not ASCII stay as they are.
const SPARING: &AsciiSet = &CONTROLS.add(b'%').add(b'/').add(b'\\').add(b'=').add(b'?').add(b'#').add(b'*').add(b':');

/// Returns the folder of a partition's files, relative to that of the table; empty for tables without partitions.
///
/// A value whose name would be too long is written with fewer escapes; where that is not enough, the files lie in the
/// table's folder, which every reader of the log understands.
pub(crate) fn folder(columns: &[String], values: &PartitionValues) -> String {
    let names: Option<Vec<String>> =
        columns.iter().zip(values).map(|(column, value)| name(column, value.as_deref())).collect();
    names.unwrap_or_default().join("/")
}

fn name(column: &str, value: Option<&str>) -> Option<String> {
    let Some(value) = value else {
        return Some(format!("{}={NULL}", utf8_percent_encode(column, STRICT)));
    };
    let fitting = |text: String| {
        let name = format!("{}={text}", utf8_percent_encode(column, STRICT));
        (name.len() <= NAME_BYTES_MAX).then_some(name)
    };
    fitting(utf8_percent_encode(value, STRICT).to_string()).or_else(|| fitting(sparing(value)))
}

/// Escapes only what must be; the encoder itself would escape everything that is not ASCII.
fn sparing(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for character in value.chars() {
        if character.is_ascii() {
            escaped.extend(utf8_percent_encode(character.encode_utf8(&mut [0; 4]), SPARING));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Says whether the file that the log names `path` lies in the folder of its partition, as far as it has one.
pub(crate) fn is_in_place(path: &str, columns: &[String], values: &PartitionValues) -> bool {
    let folder = folder(columns, values);
    decoded(path).is_some_and(|name| name.rsplit_once('/').map_or("", |(parent, _)| parent) == folder)
}

/// Encodes a file's name relative to the table for the log: <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#add-file-and-remove-file>.
pub(crate) fn encoded(name: &str) -> String {
    let parts: Vec<String> = name.split('/').map(|part| utf8_percent_encode(part, PATH).to_string()).collect();
    parts.join("/")
}

/// `=` is allowed in a path's segment, and readers expect it as it is.
const PATH: &AsciiSet = &STRICT.remove(b'=');

/// Decodes a path of the log; `None` where it is not UTF-8 afterwards.
pub(crate) fn decoded(path: &str) -> Option<String> {
    percent_decode_str(path).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: Option<&str>, expected: &str) {
        let folder = folder(&["geo".to_owned()], &vec![value.map(str::to_owned)]);
        assert_eq!(folder, expected);
        let path = encoded(&format!("{folder}/part-1.parquet"));
        assert_eq!(decoded(&path).unwrap(), format!("{folder}/part-1.parquet"));
        assert!(is_in_place(&path, &["geo".to_owned()], &vec![value.map(str::to_owned)]), "{path}");
    }

    #[test]
    fn folders_are_named_as_delta_rs_names_them() {
        check(Some("BG"), "geo=BG");
        check(None, "geo=__HIVE_DEFAULT_PARTITION__");
        check(Some("a b/c=d%"), "geo=a%20b%2Fc%3Dd%25");
        check(Some("ä"), "geo=%C3%A4");
        check(Some(".."), "geo=..");
        check(Some("a\tb\n"), "geo=a%09b%0A");
    }

    #[test]
    fn long_values_are_escaped_less_and_then_have_no_folder() {
        let long = "ж".repeat(100);
        check(Some(&long), &format!("geo={long}"));
        check(Some(&format!("{long}/")), &format!("geo={long}%2F"));
        check(Some(&"x".repeat(251)), &format!("geo={}", "x".repeat(251)));
        let too_long = vec![Some("BG".to_owned()), Some("x".repeat(252))];
        let columns = ["geo".to_owned(), "geo2".to_owned()];
        assert_eq!(folder(&columns, &too_long), "");
        assert!(is_in_place("part-1.parquet", &columns, &too_long));
    }

    #[test]
    fn paths_in_the_log_are_encoded_twice() {
        assert_eq!(encoded("geo=a%20b/part-1.parquet"), "geo=a%2520b/part-1.parquet");
        assert_eq!(encoded("geo=ж/part-1.parquet"), "geo=%D0%B6/part-1.parquet");
        assert_eq!(decoded("part%zz"), Some("part%zz".to_owned()));
        assert_eq!(decoded("%FF"), None);
    }

    #[test]
    fn flat_files_are_not_in_place() {
        let values = vec![Some("BG".to_owned())];
        assert!(!is_in_place("part-1.parquet", &["geo".to_owned()], &values));
        assert!(is_in_place("part-1.parquet", &[], &Vec::new()));
    }
}
