//! Documentation cannot rot: every command, setting, pipeline key and error class is explained in `docs/`.

use std::fs;

use hambar_core::ErrorClass;

fn read(path: &str) -> String {
    fs::read_to_string(super::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_error_class_has_its_exit_code_documented() {
    let page = read("docs/exit-codes.md");
    for class in ErrorClass::ALL {
        let row = format!("| {} | `{}` |", class.exit_code(), class.name());
        assert!(page.contains(&row), "docs/exit-codes.md lacks a row that starts with `{row}`");
    }
}

#[test]
fn every_command_is_documented() {
    let arguments = read("crates/cli/src/args.rs");
    let page = read("docs/commands.md");
    let body = arguments.split("enum Command {").nth(1).unwrap().split("\n}").next().unwrap();
    let mut commands = 0;
    let mut is_hidden = false;
    for line in body.lines().map(str::trim) {
        if line.contains("hide = true") {
            is_hidden = true;
        }
        let name: String = line.chars().take_while(char::is_ascii_alphanumeric).collect();
        if name.starts_with(|first: char| first.is_ascii_uppercase()) {
            if !is_hidden {
                commands += 1;
                let heading = format!("## hambar {}", name.to_lowercase());
                assert!(page.contains(&heading), "docs/commands.md lacks `{heading}`");
            }
            is_hidden = false;
        }
    }
    assert!(commands > 15, "only {commands} commands were found in args.rs");
}

#[test]
fn every_pipeline_key_is_documented() {
    let schema: serde_json::Value = serde_json::from_str(&read("config/pipeline.schema.json")).unwrap();
    let page = read("docs/pipelines.md");
    let mut missing = Vec::new();
    let mut keys = 0;
    collect(&schema, &mut |key| {
        keys += 1;
        if !page.contains(&format!("`{key}`")) {
            missing.push(key.to_owned());
        }
    });
    assert!(keys > 50, "only {keys} keys were found in the schema");
    missing.sort();
    missing.dedup();
    assert!(missing.is_empty(), "docs/pipelines.md lacks {}", missing.join(", "));
}

fn collect(schema: &serde_json::Value, take: &mut dyn FnMut(&str)) {
    match schema {
        serde_json::Value::Object(object) => {
            if let Some(serde_json::Value::Object(properties)) = object.get("properties") {
                properties.keys().for_each(|key| take(key));
            }
            object.values().for_each(|value| collect(value, take));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, take)),
        _ => {}
    }
}

#[test]
fn every_setting_is_documented() {
    let page = read("docs/configuration.md");
    let mut section = String::new();
    for line in read("config/default.toml").lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            let setting = format!("`{section}.{key}`");
            assert!(page.contains(&setting), "docs/configuration.md lacks {setting}");
        }
    }
}
