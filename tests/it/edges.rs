//! The one-way edges between crates, as ARCHITECTURE.md draws them.

use std::collections::BTreeMap;
use std::process::Command;

/// What each crate may depend on, outside its tests.
const ALLOWED: &[(&str, &[&str])] = &[
    ("hambar-core", &[]),
    ("hambar-sandbox", &[]),
    ("hambar-fetch", &["hambar-core"]),
    ("hambar-decode", &["hambar-core"]),
    ("hambar-connect", &["hambar-core", "hambar-fetch", "hambar-decode"]),
    ("hambar-run", &["hambar-core", "hambar-sandbox", "hambar-fetch", "hambar-decode", "hambar-connect"]),
    ("hambar-lake", &["hambar-core"]),
    ("hambar-query", &["hambar-core", "hambar-sandbox", "hambar-lake"]),
    ("hambar-server", &["hambar-core", "hambar-lake", "hambar-query"]),
    (
        "hambar",
        &[
            "hambar-core",
            "hambar-sandbox",
            "hambar-fetch",
            "hambar-decode",
            "hambar-connect",
            "hambar-run",
            "hambar-lake",
            "hambar-query",
            "hambar-server",
        ],
    ),
];

/// Crates outside the graph: nothing that ships may depend on them.
const DEV_ONLY: &[&str] = &["hambar-testkit", "hambar-tests", "hambar-benches"];

/// Heavy dependencies and the only crates that may name them.
const QUARANTINED: &[(&str, &[&str])] = &[
    ("datafusion", &["hambar-query"]),
    ("deltalake-core", &[]),
    ("reqwest", &["hambar-fetch"]),
    ("axum", &["hambar-server"]),
    ("opentelemetry-proto", &["hambar-server"]),
];

#[test]
fn crates_depend_only_downwards_and_heavy_dependencies_stay_quarantined() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(super::root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let is_dev_only = DEV_ONLY.contains(&name);
        if !is_dev_only && !allowed.contains_key(name) {
            wrong.push(format!("`{name}` is not in the table of crates"));
        }
        for dependency in package["dependencies"].as_array().unwrap() {
            let needed = dependency["name"].as_str().unwrap();
            let is_normal = dependency["kind"].is_null();
            if !is_normal || is_dev_only {
                continue;
            }
            if needed.starts_with("hambar") && !allowed.get(name).is_some_and(|list| list.contains(&needed)) {
                wrong.push(format!("`{name}` must not depend on `{needed}`"));
            }
            if let Some((_, users)) = QUARANTINED.iter().find(|(heavy, _)| *heavy == needed)
                && !users.contains(&name)
            {
                wrong.push(format!("`{name}` must not depend on `{needed}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
