//! The SQL files in `tests/sql`, each statement through the binary: the same gate, worker and store as a user's.

use std::path::Path;
use std::process::Command;

use sqllogictest::{DB, DBOutput, DefaultColumnType, Runner};

/// The demo's store, asked through the binary.
struct Store {
    url: String,
}

/// What the binary said on standard error.
#[derive(Debug)]
struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// The cells of a JSON object in the order of the columns, which `serde_json::Map` would sort.
struct Row(Vec<serde_json::Value>);

impl<'de> serde::Deserialize<'de> for Row {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Cells).map(Row)
    }
}

struct Cells;

impl<'de> serde::de::Visitor<'de> for Cells {
    type Value = Vec<serde_json::Value>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a row")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut cells = Vec::new();
        while let Some((_, cell)) = map.next_entry::<String, serde_json::Value>()? {
            cells.push(cell);
        }
        Ok(cells)
    }
}

impl DB for Store {
    type Error = Refused;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Refused> {
        let ran = Command::new(env!("CARGO_BIN_EXE_hambar"))
            .args(["--store", &self.url, "sql", "--format", "ndjson", sql])
            .env_remove("HAMBAR_CONFIG")
            .output()
            .map_err(|error| Refused(error.to_string()))?;
        if !ran.status.success() {
            return Err(Refused(String::from_utf8_lossy(&ran.stderr).trim().to_owned()));
        }
        let text = String::from_utf8(ran.stdout).map_err(|error| Refused(error.to_string()))?;
        let mut rows = Vec::new();
        for line in text.lines() {
            let row: Row = serde_json::from_str(line).map_err(|error| Refused(format!("{error}: {line}")))?;
            let cells = row.0.iter().map(|value| match value {
                serde_json::Value::Null => "NULL".to_owned(),
                serde_json::Value::String(text) if text.is_empty() => "(empty)".to_owned(),
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            rows.push(cells.collect::<Vec<_>>());
        }
        let width = rows.first().map_or(0, Vec::len);
        Ok(DBOutput::Rows { types: vec![DefaultColumnType::Any; width], rows })
    }
}

#[test]
fn every_sql_file_gives_its_answers() {
    let folder = tempfile::tempdir().unwrap();
    let demo = folder.path().join("demo");
    let ran = Command::new(env!("CARGO_BIN_EXE_hambar")).arg("demo").arg("--folder").arg(&demo).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let url = demo.join("store").display().to_string();
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sql");
    let mut count = 0;
    for entry in std::fs::read_dir(files).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "slt") {
            count += 1;
            let store = url.clone();
            let mut runner = Runner::new(move || {
                let url = store.clone();
                async move { Ok(Store { url }) }
            });
            runner.run_file(&path).unwrap_or_else(|error| panic!("{error}"));
        }
    }
    assert!(count >= 3, "only {count} SQL files were found");
}
