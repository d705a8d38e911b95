//! Compression and archives: what is read, what is refused, and that nothing partial passes.

use std::io::{Cursor, Write};

use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

use crate::reading::{check, read, read_shared, shared};

const LINES: &[u8] = b"{\"a\": 1}\n{\"a\": 2}\n";
const ROWS: &str = "1: a=1\n2: a=2";

fn lines() -> Value {
    json!({"kind": "ndjson"})
}

fn members(pattern: &str) -> Value {
    json!({"kind": "ndjson", "members": pattern})
}

pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn bzip2(body: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn xz(body: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(body: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zip_of(files: &[(&str, &[u8])], method: zip::CompressionMethod) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, body) in files {
        writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(body).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

pub(crate) fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    zip_of(files, zip::CompressionMethod::Deflated)
}

pub(crate) fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, body) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(body.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *body).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Damages an archive; the number is where its central directory starts.
type Damage = fn(&mut Vec<u8>, usize);
type Encoder = (&'static str, fn(&[u8]) -> Vec<u8>);
const ENCODERS: [Encoder; 4] = [("gzip", gzip), ("bzip2", bzip2), ("xz", xz), ("zstd", zstd)];

#[test]
fn compressed_streams_are_read_whole_or_not_at_all() {
    for (name, encode) in ENCODERS {
        let body = encode(LINES);
        check(&body, lines(), ROWS);
        check(&body, json!({"kind": "ndjson", "compression": name}), ROWS);
        let twice = [encode(b"{\"a\": 1}\n"), encode(b"{\"a\": 2}\n")].concat();
        check(&twice, lines(), ROWS);
        for cut in [body.len() - 1, body.len() - 5, body.len() / 2, 12] {
            let error = read(&body[..cut], json!({"kind": "ndjson", "compression": name})).unwrap_err();
            assert!(error.contains(name), "{name} cut at {cut}: {error}");
        }
        let garbage = [body.as_slice(), b"<html>too much</html>"].concat();
        let error = read(&garbage, lines()).unwrap_err();
        assert!(error.contains(name), "{name} with garbage: {error}");
        let mut flipped = body.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x10;
        assert!(read(&flipped, lines()).is_err(), "{name} with a flipped bit");
    }
    check(
        b"plain",
        json!({"kind": "ndjson", "compression": "gzip"}),
        "error: `body` is not gzip at byte 0 of what it holds: it ends too early, it is truncated",
    );
}

#[test]
fn bombs_are_stopped() {
    let zeros = vec![b' '; 11 << 20];
    for (name, encode) in ENCODERS {
        let error = read(&encode(&zeros), lines()).unwrap_err();
        assert!(error.contains("decompression ratio of 200"), "{name}: {error}");
    }
    let bomb = zipped(&[("a.json", zeros.as_slice())]);
    let error = read(&bomb, lines()).unwrap_err();
    assert!(error.contains("decompression ratio of 200"), "{error}");

    let mut job = crate::reading::job(&members("*"), &json!([]));
    job.limits.decoded_bytes_max = 30;
    let body = zipped(&[("1.json", LINES), ("2.json", LINES)]);
    let error = crate::reading::read_job(&body, job).unwrap_err();
    assert!(error.contains("decoded bytes of 30 bytes"), "{error}");
}

#[test]
fn zip_members_are_chosen_and_proven() {
    use zip::CompressionMethod;
    let two: &[(&str, &[u8])] = &[("d/b.json", b"{\"a\": 1}"), ("a.json", b"{\"a\": 2}"), ("notes.txt", b"x")];
    for method in
        [CompressionMethod::Stored, CompressionMethod::Deflated, CompressionMethod::Bzip2, CompressionMethod::Zstd]
    {
        let body = zip_of(two, method);
        check(&body, members("**/*.json"), "d/b.json:1: a=1\na.json:1: a=2");
        check(&body, members("*.json"), "a.json:1: a=2");
    }
    let body = zipped(two);
    let expected = "error: setting `format.members`: the archive has 3 members, name those to read: `d/b.json`, `a.json`, `notes.txt`";
    check(&body, lines(), expected);
    let expected = "error: setting `format.members`: `*.csv` matches none of `d/b.json`, `a.json`, `notes.txt`";
    check(&body, members("*.csv"), expected);
    check(&zipped(&[("x.json.gz", &gzip(LINES))]), lines(), "x.json.gz:1: a=1\nx.json.gz:2: a=2");
    check(&zipped(&[("__MACOSX/._a", b"x"), ("a.json", b"{\"a\": 1}")]), lines(), "a.json:1: a=1");

    let mut crc = zip_of(&[("a.json", LINES)], CompressionMethod::Stored);
    let at = crc.windows(LINES.len()).position(|window| window == LINES).unwrap();
    crc[at + 6] = b'7';
    let error = read(&crc, lines()).unwrap_err();
    assert!(error.contains("CRC-32") && error.contains("a.json"), "{error}");
}

#[test]
fn zips_that_lie_are_refused() {
    let honest = zipped(&[("a.json", LINES)]);
    let central = honest.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    let cases: [(&str, Damage); 3] = [
        ("name", |body, at| body[at + 46] = b'b'),
        ("size", |body, at| body[at + 24] ^= 1),
        ("encrypted", |body, at| {
            body[at + 8] |= 1;
            body[6] |= 1;
        }),
    ];
    for (what, damage) in cases {
        let mut body = honest.clone();
        damage(&mut body, central);
        let error = read(&body, lines()).unwrap_err();
        assert!(error.contains("zip"), "{what}: {error}");
    }
    // One member twice: the second entry of the directory points to the first member.
    let mut body = zipped(&[("a.json", LINES), ("b.json", LINES)]);
    let second = body.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    body[second + 42..second + 47].copy_from_slice(&[0, 0, 0, 0, b'a']);
    let error = read(&body, members("*")).unwrap_err();
    assert!(error.contains("duplicate file names"), "{error}");
    for name in ["../x.json", "/etc/x.json", "C:\\x.json", "a/../../x", "..\\x", &"n".repeat(600)] {
        let body = zip_of(&[(name, LINES)], zip::CompressionMethod::Stored);
        let error = read(&body, members("**")).unwrap_err();
        assert!(error.contains("points out of the archive") || error.contains("archive path"), "{name}: {error}");
    }
    let many: Vec<String> = (0..10_001).map(|index| format!("{index}")).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), b"".as_slice())).collect();
    let error = read(&zip_of(&many, zip::CompressionMethod::Stored), members("*")).unwrap_err();
    assert!(error.contains("archive members of 10000"), "{error}");
    // A zip inside a zip is not opened: it is no NDJSON.
    let nested = zipped(&[("inner.zip", &zipped(&[("a.json", LINES)]))]);
    let read = read(&nested, members("*")).unwrap();
    assert!(read.rows.is_empty() && !read.faults.is_empty());
}

#[test]
fn zips_with_a_broken_directory_are_read_by_their_local_headers() {
    let whole = zipped(&[("a.json", b"{\"a\": 1}\n"), ("b.json", b"{\"a\": 2}\n")]);
    let central = whole.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    let mut broken = whole.clone();
    broken.truncate(central + 30);
    check(&broken, members("*"), "a.json:1: a=1\nb.json:1: a=2");
    // Cut within the members: truncated, never half an archive.
    for cut in [central, central - 3, central - 40, 20] {
        let error = read(&whole[..cut], members("*")).unwrap_err();
        assert!(error.contains("zip") || error.contains("truncated"), "{cut}: {error}");
    }
    // Sizes behind the data (a streamed zip).
    let mut writer = zip::ZipWriter::new_stream(Vec::new());
    for name in ["a.json", "b.json"] {
        writer.start_file(name, SimpleFileOptions::default()).unwrap();
        writer.write_all(LINES).unwrap();
    }
    let streamed = writer.finish().unwrap().into_inner();
    let expected = "a.json:1: a=1\na.json:2: a=2\nb.json:1: a=1\nb.json:2: a=2";
    check(&streamed, members("*"), expected);
    let central = streamed.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    check(&streamed[..central + 20], members("*"), expected);
}

#[test]
fn tars_are_streams_of_regular_files() {
    let plain = tar_of(&[("x/a.json", b"{\"a\": 1}"), ("b.json", b"{\"a\": 2}"), ("c.txt", b"x")]);
    check(&plain, members("**/*.json"), "x/a.json:1: a=1\nb.json:1: a=2");
    check(&gzip(&plain), members("b.*"), "b.json:1: a=2");
    check(&xz(&plain), json!({"kind": "ndjson", "archive": "tar", "members": "b.*"}), "b.json:1: a=2");
    check(&tar_of(&[("a.json.gz", &gzip(LINES))]), lines(), "a.json.gz:1: a=1\na.json.gz:2: a=2");
    let error = read(&plain, members("*.csv")).unwrap_err();
    assert!(error.contains("`*.csv` matches none of `x/a.json`"), "{error}");
    for cut in [512 + 4, plain.len() - 1024, 600] {
        assert!(read(&plain[..cut], members("**")).is_err(), "cut at {cut}");
    }
    // Zeros that belong to the last member whole on this side of the cut are no end mark.
    let zeros = tar_of(&[("a.json", &[0; 2048]), ("b.json", LINES)]);
    let error = read(&zeros[..512 + 2048], members("*")).unwrap_err();
    assert!(error.contains("without its end mark"), "{error}");
    let packed = gzip(&plain);
    let error = read(&packed[..packed.len() - 6], members("b.*")).unwrap_err();
    assert!(error.contains("gzip"), "{error}");

    let mut builder = tar::Builder::new(Vec::new());
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    builder.append_link(&mut link, "a.json", "/etc/passwd").unwrap();
    let error = read(&builder.into_inner().unwrap(), members("*")).unwrap_err();
    assert!(error.contains("no regular file"), "{error}");

    let mut climbing = tar_of(&[("aa/x.json", LINES)]);
    climbing[..2].copy_from_slice(b"..");
    let sum: u32 = climbing[..512]
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    climbing[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let error = read(&climbing, members("**")).unwrap_err();
    assert!(error.contains("points out of the archive"), "{error}");
}

#[test]
fn real_archives() {
    if shared("").is_none() {
        return;
    }
    let csv = |members: &str| json!({"kind": "csv", "members": members});
    let cases = [
        ("faostat/FS.zip", csv("*Normalized*.csv"), 1000),
        ("frictionless/data/chunk1.csv.zip", json!({"kind": "csv"}), 1),
        ("frictionless/data/table-multiple-files.zip", csv("*.csv"), 1),
        ("csv/csvkit-examples/dummy.csv.bz2", json!({"kind": "csv"}), 1),
        ("csv/csvkit-examples/dummy.csv.gz", json!({"kind": "csv"}), 1),
        ("reference/power-plants/raw/database_14.zip", csv("**/*.csv"), 1),
    ];
    for (path, format, rows) in cases {
        match read_shared(path, format).unwrap() {
            Ok(read) => assert!(read.rows.len() >= rows, "{path}: {} rows", read.rows.len()),
            Err(error) => assert!(error.contains("matches none of"), "{path}: {error}"),
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]
    #[test]
    fn damaged_archives_never_panic(which in 0_usize..6, at in 0_usize..400, bit in 0_u32..8, cut in 0_usize..2500) {
        let zip = zipped(&[("a.json", LINES), ("b.json", LINES)]);
        let tar = tar_of(&[("a.json", LINES), ("b.json", LINES)]);
        let mut bodies = vec![zip, gzip(&tar), tar];
        bodies.extend([gzip(LINES), xz(LINES), zstd(LINES)]);
        let mut body = bodies.swap_remove(which);
        let length = body.len();
        body[at % length] ^= 1 << bit;
        body.truncate(cut.max(1));
        drop(read(&body, members("*")));
    }
}
