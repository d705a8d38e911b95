//! The store read by others: delta-rs, Polars and DuckDB see the rows that `hambar sql` sees, without Hambar.

use std::process::Command;

use crate::support::{Provider, Ran, Workshop, setting, snapshot_of};

/// Reads the table at `argv[1]` three ways and prints rows and sum of `value` for each.
const SCRIPT: &str = r#"
import sys
import deltalake, duckdb, polars, pyarrow
from deltalake import DeltaTable
path = sys.argv[1]
table = DeltaTable(path)
files = table.file_uris()
rows = table.to_pyarrow_table()
print("deltalake", rows.num_rows, sum(rows.column("value").to_pylist()))
frame = polars.read_delta(path)
print("polars", frame.height, frame["value"].sum())
count, total = duckdb.sql("SELECT count(*), sum(value)::BIGINT FROM read_parquet(%r, hive_partitioning = true)" % files).fetchall()[0]
print("duckdb", count, total)
for version in range(1, table.version() + 1):
    old = polars.read_delta(path, version=version)
    print("version", version, old.height, old["value"].sum())
# Polars takes partition values from the names of folders, which Delta does not ask for.
print("partitions", sorted(set(rows.column("part").to_pylist())))
print("name", frame.filter(polars.col("id") == 7)["name"].to_list())
"#;

/// The interpreter with the modules; `None` where they are missing, which continuous integration forbids.
fn python(workshop: &Workshop) -> Option<String> {
    let python = setting("HAMBAR_TEST_PYTHON").unwrap_or_else(|| "python3".to_owned());
    let probe = Command::new(&python)
        .args(["-c", "import deltalake, duckdb, polars, pyarrow"])
        .current_dir(workshop.path())
        .output();
    if probe.as_ref().is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let message = "`python3` (or HAMBAR_TEST_PYTHON) lacks deltalake, duckdb, polars or pyarrow";
    assert_ne!(setting("CI").as_deref(), Some("true"), "{message}");
    println!("skipped: {message}");
    None
}

/// `rows` rows in three partitions; names with quotes, umlauts and line ends in them.
fn csv(rows: u64, factor: u64) -> String {
    let mut text = String::from("id,part,value,name\n");
    for id in 0..rows {
        text.push_str(&format!(
            "{id},{},{},\"Zürich \"\"{id}\"\"\nč, 2\"\n",
            ["a b", "ä/ö", "c=d"][(id % 3) as usize],
            id * factor
        ));
    }
    text
}

#[test]
fn delta_rs_polars_and_duckdb_see_the_same_rows() {
    let (workshop, provider) = (Workshop::new(), Provider::start());
    let Some(python) = python(&workshop) else { return };
    let columns = [("id", "int64"), ("part", "string"), ("value", "int64"), ("name", "string")];
    let text =
        snapshot_of(&provider.url("/a.csv"), &columns, 1).replace("[write]", "[write]\npartition_by = [\"part\"]");
    workshop.pipeline("test.a", &text);
    for (rows, factor) in [(500, 1), (600, 1), (550, 3)] {
        provider.publish("/a.csv", &csv(rows, factor));
        workshop.run("test.a");
    }
    let read = || {
        let mut command = Command::new(&python);
        Ran::of(command.args(["-c", SCRIPT, "store/tables/test/a"]).current_dir(workshop.path())).ok()
    };
    let expected = workshop.value("SELECT count(*), sum(value) FROM test.a").replace(',', " ");
    assert_eq!(expected, format!("550 {}", 549 * 550 / 2 * 3));
    let said = read();
    for reader in ["deltalake", "polars", "duckdb"] {
        assert!(said.contains(&format!("{reader} {expected}\n")), "{expected}:\n{said}");
    }
    for (rows, factor) in [(500_u64, 1), (600, 1), (550, 3)] {
        assert!(said.contains(&format!(" {rows} {}\n", (rows - 1) * rows / 2 * factor)), "{rows}:\n{said}");
    }
    assert!(said.contains("partitions ['a b', 'c=d', 'ä/ö']"), "{said}");
    assert!(said.contains("name ['Zürich \"7\"\\nč, 2']"), "{said}");
    // Compacted and with a checkpoint, it is the same table to them.
    workshop.hambar(&["optimize"]).ok();
    let said = read();
    assert!(
        said.contains(&format!("deltalake {expected}\n")) && said.contains(&format!("duckdb {expected}\n")),
        "{said}"
    );
    workshop.fsck();
}
