//! `[source]` sections: what is accepted, what is refused, and how it is said.

use hambar_connect::SourceSpec;

use crate::memory::{Secrets, job};

fn problems(source: &str) -> String {
    match toml::from_str::<SourceSpec>(source) {
        Err(error) => format!("unreadable: {}", error.message()),
        Ok(spec) => {
            let problems: Vec<String> =
                spec.validate().into_iter().map(|(key, what)| format!("{key}: {what}")).collect();
            problems.join("\n")
        }
    }
}

#[test]
fn every_problem_is_reported_at_once() {
    let source = "kind = \"rest_json\"\nurl = \"ftp://p.org/{b}\"\nquery = { q = \"{c}\" }\npages_max = 0\n\
        headers = { Authorization = \"x\" }\nbody = { a = 1 }\n\
        [for_each]\na = []\n[pagination]\nstyle = \"keyset\"\nparameter = \"w\"\nkey = \"/id\"\nsize = 0\nvalue = \"x\"\n\
        [incremental]\nparameter = \"s\"\nvalue = \"x\"\nis = \"text\"";
    let found = problems(source);
    for expected in [
        "source.headers.Authorization: is a secret: use `[source.auth]`",
        "source.pagination.size: is 0",
        "source.pagination.value: does not hold `{key}`",
        "source.for_each.a: has no values",
        "source.url: `{b}` has no values",
        "source.query.q: `{c}` has no values in `[source.for_each]`",
        "source.method: a body needs `method = \"POST\"`",
        "source.pages_max: is 0",
        "source.incremental.value: does not hold `{position}`",
        "source.incremental.is: `text` needs `cursor`: the run's start is an instant",
    ] {
        assert!(found.lines().any(|line| line == expected), "{expected}\nis not among\n{found}");
    }
}

#[test]
fn single_problems_are_named() {
    for (source, expected) in [
        ("kind = \"http_file\"", "source.url: is missing; give `url` or `[source.manifest]`"),
        (
            "kind = \"http_file\"\nurl = \"https://u:p@p.org/\"",
            "source.url: a URL must not hold a user or a password; use `[source.auth]`",
        ),
        ("kind = \"http_file\"\nurl = \"https://p.org/\"\nur = 1", "unreadable: unknown field `ur`"),
        (
            "kind = \"rest_json\"\nurl = \"https://p.org/\"\n[pagination]\nstyle = \"none\"\nsize = 1",
            "unreadable: unknown field `size`",
        ),
        (
            "kind = \"rest_json\"\nurl = \"https://p.org/\"\nrecord_path = \"r\"",
            "unreadable: `r` is not a JSON Pointer",
        ),
        (
            "kind = \"rest_json\"\nurl = \"https://p.org/\"\n[auth]\nkind = \"bearer\"\nsecret = \"abc\"",
            "unreadable: a secret is never written here",
        ),
        ("kind = \"soap\"", "unreadable: unknown variant `soap`"),
        (
            "kind = \"ckan\"\nportal = \"https://p.org\"\nread = \"datastore\"\npage_size = 40000",
            "source.resource_id: is missing; `read = \"datastore\"` needs it\nsource.page_size: is 40000, CKAN gives at most 32000 records at once",
        ),
        (
            "kind = \"http_file\"\n[manifest]\nurl = \"https://p.org/\"\nformat = \"text\"\nlink = \"url\"\ninclude = \"(\"",
            "source.manifest.include: is not a regular expression",
        ),
    ] {
        let found = problems(source);
        assert!(found.starts_with(expected), "{source}\n{found}");
        assert!(!found.contains("abc"), "a secret is shown: {found}");
    }
}

#[test]
fn building_names_the_key_of_the_first_problem() {
    let build = |source: &str| {
        let spec: SourceSpec = toml::from_str(source).unwrap();
        #[derive(Debug)]
        struct Never;
        impl hambar_core::Clock for Never {
            fn now(&self) -> jiff::Timestamp {
                jiff::Timestamp::UNIX_EPOCH
            }
        }
        let built = spec.build(&Secrets, &"a.b".parse().unwrap(), job("kind = \"csv\""), std::sync::Arc::new(Never));
        built.unwrap_err().to_string()
    };
    assert_eq!(
        build("kind = \"http_file\""),
        "setting `source.url`: is missing; give `url` or `[source.manifest]` (pipeline `a.b`)"
    );
    assert_eq!(
        build(
            "kind = \"http_file\"\nurl = \"https://p.org/\"\n[auth]\nkind = \"bearer\"\nsecret = { file = \"no/where\" }"
        ),
        "setting `source.auth`: the file `no/where` cannot be read"
    );
}

#[test]
fn the_schema_knows_every_kind() {
    let schema = schemars::schema_for!(SourceSpec).to_value().to_string();
    for word in
        ["http_file", "rest_json", "ckan", "resumption_token", "time_window", "manifest", "additionalProperties"]
    {
        assert!(schema.contains(word), "{word}");
    }
}

#[test]
fn pipeline_files_are_valid_also_by_way_of_json() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines");
    for file in ["worldbank/gdp_per_capita", "worldbank/indicators", "usgs/earthquakes", "crossref/works"] {
        let text = std::fs::read_to_string(folder.join(format!("{file}.toml"))).unwrap();
        let table: toml::Table = toml::from_str(&text).unwrap();
        let direct: SourceSpec = table["source"].clone().try_into().unwrap();
        assert_eq!(direct.validate(), [], "{file}");
        let json = serde_json::to_value(&table["source"]).unwrap();
        let by_json: SourceSpec = serde_json::from_value(json).unwrap();
        assert_eq!(direct, by_json, "{file}");
        let again: SourceSpec = toml::from_str(&toml::to_string(&direct).unwrap()).unwrap();
        assert_eq!(direct, again, "{file}");
    }
}
