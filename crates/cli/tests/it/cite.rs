//! `hambar cite`: the forms of a citation, and the row that pins the version.

use crate::support::{Provider, Workshop, snapshot_of};

#[test]
fn a_version_is_cited_in_every_form_and_pinned_once() {
    let (workshop, provider) = (Workshop::new(), Provider::start());
    workshop.pipeline("test.a", &snapshot_of(&provider.url("/a.csv"), &[("id", "int64"), ("value", "int64")], 1));
    for text in ["id,value\n1,1\n", "id,value\n1,2\n"] {
        provider.publish("/a.csv", text);
        workshop.run("test.a");
    }
    let cite = |table: &str, format: &str| workshop.hambar(&["cite", table, "--format", format]);
    let text = cite("test.a@1", "text").ok();
    for part in
        ["Tests (20", "Test [data set]", "test.a, version 1, as recorded at 20", "Content 1:", "Licence: CC0-1.0"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let query = text.lines().last().unwrap().strip_prefix("Read it with: ").unwrap();
    assert_eq!(workshop.rows(query).len(), 1, "{query}");
    assert!(cite("test.a", "bibtex").ok().starts_with("@misc{hambar:"));
    assert!(cite("test.a", "ris").ok().starts_with("TY  - DATA\n"));
    for form in ["csl-json", "datacite"] {
        let said = cite("test.a@2", form).ok();
        let value: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert!(value.to_string().contains("CC0-1.0"), "{value}");
    }
    let rows = workshop.rows("SELECT \"table\", version, title, licence FROM system.citations");
    assert_eq!(rows, ["test.a,1,Test,CC0-1.0", "test.a,2,Test,CC0-1.0"]);
    cite("test.a@9", "text").fails(20, &["version 9 of table `test.a`"]);
    cite("test.a@x", "text").fails(2, &["`x` is not a version of `test.a`", "hambar history test.a"]);
    cite("test.b", "text").fails(20, &["table `test.b`"]);
    workshop.fsck();
}
