//! The Pollock benchmark: one real table with one defect at a time. Every file gives the clean table's rows, or says
//! that something is wrong; no defect goes unnoticed.

use serde_json::{Value, json};

use crate::csv::{Table, read};
use crate::reading::shared;

fn parameters(folder: &std::path::Path, name: &str) -> Value {
    let path = folder.join("parameters").join(format!("{name}_parameters.json"));
    let given: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut format = json!({
        "kind": "csv", "delimiter": given["delimiter"], "quote": given["quotechar"],
        "preamble_lines": given["preamble_lines"], "header_lines": given["header_lines"],
        "footer_lines": given["footnote_lines"],
    });
    let escape = given["escapechar"].as_str().unwrap_or_default();
    if escape.is_ascii() && escape != "\0" {
        format["escape"] = json!(escape);
    }
    format
}

#[test]
fn no_defect_goes_unnoticed() {
    let Some(folder) = shared("csv/pollock-polluted") else {
        return;
    };
    let (mut equal, mut told, mut silent) = (0, 0, Vec::new());
    let mut names: Vec<String> = std::fs::read_dir(folder.join("csv"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for name in names {
        let polluted = std::fs::read(folder.join("csv").join(&name)).unwrap();
        let clean = std::fs::read(folder.join("clean").join(&name)).unwrap();
        let format = parameters(&folder, &name);
        let clean =
            read(&clean, &json!({"kind": "csv", "header_lines": format["header_lines"].as_u64().unwrap().min(1)}))
                .unwrap();
        match read(&polluted, &format) {
            Ok(Table { rows, faults, .. }) if faults.is_empty() && rows == clean.rows => equal += 1,
            Ok(Table { faults, .. }) if !faults.is_empty() => told += 1,
            Ok(table) => silent.push(format!("{name}: {} rows, clean {}", table.rows.len(), clean.rows.len())),
            Err(_) => told += 1,
        }
    }
    println!("pollock: {equal} files equal, {told} told");
    assert!(silent.is_empty(), "{silent:#?}");
    assert!(equal >= 10 && equal + told == 112, "{equal} equal, {told} told");
}
