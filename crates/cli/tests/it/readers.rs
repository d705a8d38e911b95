//! The store read by others: delta-rs, PyArrow, both readers of Polars, and DuckDB see the rows that `hambar sql` sees,
//! without Hambar, partition columns included.

use std::collections::BTreeMap;
use std::process::Command;

use crate::support::{Provider, Ran, Workshop, setting, snapshot_of};

/// Reads the table at `argv[1]` with every reader; prints a line for each partition, and what earlier versions hold.
const SCRIPT: &str = r#"
import json, sys
import deltalake, duckdb, polars, pyarrow
import pyarrow.dataset
from deltalake import DeltaTable
from duckdb_extensions import import_extension
path = sys.argv[1]
table = DeltaTable(path)

def show(reader, rows):
    for part, day, count, total in rows:
        print(reader, json.dumps(part, ensure_ascii=False), day, count, total)

def grouped(frame):
    frame = frame.group_by("part", "day").agg(polars.len(), polars.col("value").sum())
    return frame.select(polars.col("part"), polars.col("day").cast(polars.String), "len", "value").rows()

show("polars", grouped(polars.read_delta(path)))
show("polars-lazy", grouped(polars.scan_delta(path).collect()))
show("polars-pyarrow", grouped(polars.read_delta(path, use_pyarrow=True)))
show("deltalake", grouped(polars.from_arrow(table.to_pyarrow_table())))
files = [file.removeprefix("file://") for file in table.file_uris()]
hive = pyarrow.dataset.partitioning(flavor="hive", schema=pyarrow.schema([("part", pyarrow.string()), ("day", pyarrow.date32())]))
show("pyarrow", grouped(polars.from_arrow(pyarrow.dataset.dataset(files, partitioning=hive, partition_base_dir=path).to_table())))
import_extension("delta")
duckdb.sql("LOAD delta")
show("duckdb", duckdb.sql(f"SELECT part, day::VARCHAR, count(*), sum(value)::BIGINT FROM delta_scan('{path}') GROUP BY ALL").fetchall())
for number in range(1, table.version() + 1):
    for reader in (False, True):
        old = polars.read_delta(path, version=number, use_pyarrow=reader)
        print("version", number, reader, old.height, old["value"].sum())
for part in ("ä/ö", "50%"):
    found = polars.scan_delta(path).filter(polars.col("part") == part).collect()
    asked = duckdb.execute(f"SELECT count(*) FROM delta_scan('{path}') WHERE part = ?", [part]).fetchone()
    print("filtered", part, found.height, asked[0])
frame = polars.read_delta(path)
print("name", frame.filter(polars.col("id") == 7)["name"].to_list())
"#;

/// Texts that a path, a URL or a reader of folder names could take for something else; the empty one is NULL.
const PARTS: [&str; 12] =
    ["a b", "ä/ö", "c=d", "50%", "x+y", "q?#&", "{a}[b]^`~|<>*:\\'", "..", "日本", "%2F", "", "_"];
const DAYS: [&str; 2] = ["2026-01-31", "2026-02-01"];
const READERS: [&str; 6] = ["polars", "polars-lazy", "polars-pyarrow", "deltalake", "pyarrow", "duckdb"];

/// The interpreter with the modules; `None` where they are missing, which continuous integration forbids.
fn python(workshop: &Workshop) -> Option<String> {
    let python = setting("HAMBAR_TEST_PYTHON").unwrap_or_else(|| "python3".to_owned());
    let probe = Command::new(&python)
        .args(["-c", "import deltalake, duckdb, duckdb_extension_delta, duckdb_extensions, polars, pyarrow"])
        .current_dir(workshop.path())
        .output();
    if probe.as_ref().is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let message =
        "`python3` (or HAMBAR_TEST_PYTHON) lacks deltalake, duckdb with its extension delta, polars or pyarrow";
    assert_ne!(setting("CI").as_deref(), Some("true"), "{message}");
    println!("skipped: {message}");
    None
}

/// `rows` rows over all partitions; names with quotes, umlauts and line ends in them.
fn csv(rows: u64, factor: u64) -> String {
    let mut text = String::from("id,part,day,value,name\n");
    for id in 0..rows {
        let (part, day) = place(id);
        text.push_str(&format!("{id},\"{part}\",{day},{},\"Zürich \"\"{id}\"\"\nč, 2\"\n", id * factor));
    }
    text
}

fn place(id: u64) -> (&'static str, &'static str) {
    (PARTS[(id % 12) as usize], DAYS[(id % 24 / 12) as usize])
}

/// What every reader must say of `rows` rows, sorted.
fn partitions(rows: u64, factor: u64) -> Vec<String> {
    let mut found: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
    for id in 0..rows {
        let (count, sum) = found.entry(place(id)).or_default();
        *count += 1;
        *sum += id * factor;
    }
    let shown = |part: &str| if part.is_empty() { "null".to_owned() } else { serde_json::to_string(part).unwrap() };
    let mut lines: Vec<String> =
        found.iter().map(|((part, day), (count, sum))| format!("{} {day} {count} {sum}", shown(part))).collect();
    lines.sort();
    lines
}

#[track_caller]
fn assert_all_see(said: &str, rows: u64, factor: u64) {
    for reader in READERS {
        let mut lines: Vec<&str> =
            said.lines().filter_map(|line| line.strip_prefix(reader)?.strip_prefix(' ')).collect();
        lines.sort_unstable();
        assert_eq!(lines, partitions(rows, factor), "{reader}:\n{said}");
    }
}

#[test]
fn every_reader_sees_the_same_rows() {
    let (workshop, provider) = (Workshop::new(), Provider::start());
    let Some(python) = python(&workshop) else { return };
    let columns = [("id", "int64"), ("part", "string"), ("day", "date"), ("value", "int64"), ("name", "string")];
    let text = snapshot_of(&provider.url("/a.csv"), &columns, 1)
        .replace("[write]", "[write]\npartition_by = [\"part\", \"day\"]");
    workshop.pipeline("test.a", &text);
    for (rows, factor) in [(500, 1), (600, 1), (550, 3)] {
        provider.publish("/a.csv", &csv(rows, factor));
        workshop.run("test.a");
    }
    let read = || {
        let mut command = Command::new(&python);
        Ran::of(command.args(["-c", SCRIPT, "store/tables/test/a"]).current_dir(workshop.path())).ok()
    };
    let asked = workshop.rows("SELECT part, day, count(*), sum(value) FROM test.a GROUP BY part, day");
    assert_eq!(asked.len(), 24);
    let said = read();
    assert_all_see(&said, 550, 3);
    for (rows, factor) in [(500_u64, 1), (600, 1), (550, 3)] {
        let seen = format!(" {rows} {}\n", (rows - 1) * rows / 2 * factor);
        assert_eq!(said.lines().filter(|line| format!("{line}\n").ends_with(&seen)).count(), 2, "{rows}:\n{said}");
    }
    for part in ["ä/ö", "50%"] {
        let count = (0..550).filter(|id| place(*id).0 == part).count();
        assert!(said.contains(&format!("filtered {part} {count} {count}\n")), "{said}");
    }
    assert!(said.contains("name ['Zürich \"7\"\\nč, 2']"), "{said}");
    // Compacted and with a checkpoint, it is the same table to them.
    workshop.hambar(&["optimize"]).ok();
    assert_all_see(&read(), 550, 3);
    workshop.fsck();
}
