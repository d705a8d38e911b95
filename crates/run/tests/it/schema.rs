//! `config/pipeline.schema.json` is what editors complete pipeline files with: it must be what the program reads.
//! `UPDATE_SCHEMA=1` writes it anew.

use std::path::Path;

#[test]
#[expect(clippy::disallowed_methods, reason = "tests may read the environment")]
fn the_schema_in_the_repository_is_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/pipeline.schema.json");
    let current = format!("{}\n", serde_json::to_string_pretty(&hambar_run::spec::json_schema()).unwrap());
    if std::env::var("UPDATE_SCHEMA").is_ok() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &current).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == current, "config/pipeline.schema.json is out of date: run the test with UPDATE_SCHEMA=1");
}
