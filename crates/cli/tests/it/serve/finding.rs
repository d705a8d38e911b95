//! Being found: the catalogue passes the shapes of DCAT-AP, Croissant loads rows, and everybody sees what exists for them.

use std::process::Command;

use serde_json::{Value, json};

use super::citing::all;
use super::{ROWS, Served};
use crate::support::{Ran, python, shared};

const CENTRE: &str = "[server.centre]\nurl = \"https://data.example/hambar\"\ntitle = \"Centre <&>\"\npublisher = \
    \"University\"\ncontact = \"data@example.org\"\nstore = \"https://bucket.example/h\"\nthemes = { demo = \"ECON\" }\n";

/// Checks catalogues with the shapes of DCAT-AP: `argv[1]` is the folder of shapes, the others are files.
const SHAPES: &str = r#"
import sys
import pyshacl, rdflib
folder, files = sys.argv[1], sys.argv[2:]
graphs = [rdflib.Graph().parse(file) for file in files]
print("statements", *[len(graph) for graph in graphs])
from rdflib.compare import isomorphic
print("same", all(isomorphic(graphs[0], other) for other in graphs[1:]))
for shapes in ["shapes.ttl", "range.ttl", "deprecateduris.ttl", "mdr-vocabularies.shape.ttl"]:
    # The last one warns where a publisher is not in the Union's list of its own bodies.
    conforms, _, text = pyshacl.validate(graphs[0], shacl_graph=folder + "/" + shapes, advanced=True, allow_warnings=True)
    print(shapes, conforms, "" if conforms else text)
"#;

/// Checks a description with the library of Croissant, and loads rows by it.
const CROISSANT: &str = r#"
import itertools, json, sys
import mlcroissant
dataset = mlcroissant.Dataset(jsonld=sys.argv[1])
print("errors", len(dataset.metadata.ctx.issues.errors), *dataset.metadata.ctx.issues.errors)
records = list(dataset.records(record_set="rows"))
print("records", len(records))
print("first", records[0]["rows/id"], records[0]["rows/country"], records[0]["rows/value"])
"#;

#[test]
fn the_catalogue_passes_the_shapes_of_dcat_ap_in_every_form() {
    let served = Served::start(CENTRE);
    let mut files = Vec::new();
    for (ending, media_type) in
        [("ttl", "text/turtle"), ("jsonld", "application/ld+json"), ("rdf", "application/rdf+xml")]
    {
        let named = served.get(&format!("/catalog.{ending}")).ok();
        assert_eq!(named.header("content-type"), Some(media_type));
        let asked = served.get_as(Some(&served.token), "/catalog", &[("accept", media_type)]).ok();
        assert_eq!(asked.header("etag"), named.header("etag"), "{ending}");
        let tag = named.header("etag").unwrap();
        let unchanged = served.get_as(Some(&served.token), &format!("/catalog.{ending}"), &[("if-none-match", tag)]);
        assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
        served.workshop.write(&format!("catalog.{ending}"), &named.text());
        files.push(format!("catalog.{ending}"));
    }
    let turtle = served.get("/catalog.ttl").ok().text();
    for part in [
        "<https://data.example/hambar/catalog#catalog>",
        "<https://data.example/hambar/tables/demo.figures#dataset>",
        "https://data.example/hambar/tables/demo.figures/data.csv",
        "<https://creativecommons.org/publicdomain/zero/1.0/>",
        "data-theme/ECON",
        "<mailto:data@example.org>",
        "https://bucket.example/h/tables/demo/figures/",
        "\"2000\"^^xsd:gYear",
    ] {
        assert!(turtle.contains(part), "{part}: {turtle}");
    }
    served.get_as(Some(&served.token), "/catalog", &[("accept", "image/png")]).fails(406, "limit");
    served.get("/catalog.exe").fails(404, "query");
    let (Some(folder), Some(python)) = (shared(), python("pyshacl, rdflib")) else { return };
    let shapes = folder.join("dcat/dcat-ap-spec/releases/3.0.1/html/shacl");
    let mut command = Command::new(&python);
    command.args(["-c", SHAPES]).arg(&shapes).args(&files).current_dir(served.workshop.path());
    let said = Ran::of(&mut command).ok();
    assert!(said.contains("same True\n"), "{said}");
    for shapes in ["shapes.ttl True", "range.ttl True", "deprecateduris.ttl True", "mdr-vocabularies.shape.ttl True"] {
        assert!(said.contains(shapes), "{said}");
    }
}

#[test]
fn everybody_finds_what_exists_for_them_and_no_more() {
    let served = Served::with("", &["--anonymous"]);
    let narrow = served.token("narrow", "reader", "demo");
    for token in [None, Some(narrow.as_str())] {
        for target in ["/catalog.ttl", "/catalog.jsonld", "/catalog.rdf", "/sitemap.xml"] {
            let text = served.get_as(token, target, &[]).ok().text();
            assert!(text.contains("demo.figures") && !text.contains("closed"), "{target}: {text}");
        }
        for file in ["croissant.json", "schema-org.json", "datapackage.json", "data.csv-metadata.json", "data.csv"] {
            let hidden = served.get_as(token, &format!("/tables/closed.numbers/{file}"), &[]);
            let absent = served.get_as(token, &format!("/tables/closed.nothing/{file}"), &[]);
            assert_eq!((hidden.status, absent.status), (404, 404), "{file}");
            assert_eq!(hidden.text().replace("numbers", "nothing"), absent.text(), "{file}");
        }
    }
    assert!(served.get("/sitemap.xml").ok().text().contains("<loc>http://test/tables/closed.numbers</loc>"));
    let robots = served.get_as(None, "/robots.txt", &[]).ok().text();
    assert!(robots.contains("Sitemap: http://test/sitemap.xml\n") && robots.contains("Disallow: /api/"), "{robots}");
    let closed = Served::start("");
    assert_eq!(closed.get_as(None, "/robots.txt", &[]).ok().text(), "User-agent: *\nDisallow: /\n");
    closed.get_as(None, "/catalog.ttl", &[]).fails(401, "denied");
    closed.get_as(None, "/sitemap.xml", &[]).fails(401, "denied");
    closed.get_as(None, "/tables/demo.figures/data.csv", &[]).fails(401, "denied");
}

#[test]
fn whole_tables_are_files_with_their_description_beside_them() {
    let served = Served::start("");
    let file = served.get("/tables/demo.figures/data.csv").ok();
    assert_eq!(file.text().lines().count() as u64, ROWS + 1);
    assert_eq!(file.text().lines().next(), Some("id,country,year,value,note"));
    assert_eq!(file.header("content-disposition"), Some("attachment; filename=\"demo.figures.csv\""));
    let links = all(&file, "link").join(", ");
    for part in [
        "<http://test/tables/demo.figures/data.csv-metadata.json>; rel=\"describedby\"; type=\"application/csvm+json\"",
        "<http://test/cite/demo.figures@1>; rel=\"cite-as\"",
        "rel=\"license\"",
        "rel=\"collection\"",
    ] {
        assert!(links.contains(part), "{part}: {links}");
    }
    let tag = file.header("etag").unwrap();
    let again = served.get_as(Some(&served.token), "/tables/demo.figures/data.csv", &[("if-none-match", tag)]);
    assert_eq!(again.status, 304);
    let old = served.get("/tables/demo.figures/data.csv?version=1").ok();
    assert!(old.header("cache-control").unwrap().contains("immutable"));
    assert_eq!(old.body, file.body);
    served.get("/tables/demo.figures/data.csv?version=99").fails(404, "query");
    served.get("/tables/demo.figures/data.csv?versoin=1").fails(400, "query");
    for (ending, start) in [("parquet", "PAR1"), ("ndjson", "{\"id\":"), ("xlsx", "PK")] {
        let file = served.get(&format!("/tables/demo.figures/data.{ending}")).ok();
        assert!(file.body.starts_with(start.as_bytes()), "{ending}");
    }
    let csvw = served.get("/tables/demo.figures/data.csv-metadata.json").ok();
    assert_eq!(csvw.header("content-type"), Some("application/csvm+json"));
    let columns = csvw.json()["tableSchema"]["columns"].clone();
    let kinds: Vec<&str> =
        columns.as_array().unwrap().iter().filter_map(|column| column["datatype"].as_str()).collect();
    assert_eq!(kinds, ["integer", "string", "integer", "double", "string"]);
    let package = served.get("/tables/demo.figures/datapackage.json").ok().json();
    assert_eq!(package["licenses"][0]["name"], json!("CC0-1.0"));
    assert_eq!(package["resources"][0]["schema"]["primaryKey"], json!(["id"]));
    let dataset = served.get("/tables/demo.figures/schema-org.json").ok().json();
    assert_eq!(dataset["temporalCoverage"], json!("2000/2024"), "{dataset}");
    assert_eq!(dataset["license"], json!("https://creativecommons.org/publicdomain/zero/1.0/"));
}

#[test]
fn the_pages_say_to_programs_what_they_are() {
    let served = Served::with("", &["--anonymous"]);
    let page = served.get_as(None, "/tables/demo.figures", &[("accept", "text/html")]).ok();
    let text = page.text();
    let (_, rest) = text.split_once("<script type=\"application/ld+json\">").unwrap();
    let embedded: Value = serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap();
    let alone = served.get_as(None, "/tables/demo.figures/schema-org.json", &[]).ok();
    assert_eq!(embedded, alone.json());
    assert_eq!(all(&page, "link"), all(&alone, "link"));
    assert!(all(&page, "link").contains(&"<http://test/cite/demo.figures@1>; rel=\"cite-as\""), "{:?}", page.headers);
    for target in ["/cite/demo.figures@1", "/cite/demo.figures@1.ris", "/tables/demo.figures/croissant.json"] {
        assert!(text.contains(&format!("href=\"{target}\"")), "{target}: {text}");
        served.get_as(None, target, &[]).ok();
    }
    assert!(text.contains("http://test/cite/demo.figures@1"), "the citation has its address: {text}");
    let home = served.get_as(None, "/", &[("accept", "text/html")]).ok().text();
    for target in ["/catalog.ttl", "/catalog.jsonld", "/catalog.rdf"] {
        assert!(home.contains(&format!("href=\"{target}\"")), "{target}: {home}");
    }
}

#[test]
fn croissant_is_valid_and_loads_every_row() {
    let served = Served::with("", &["--anonymous"]);
    let described: Value = served.get_as(None, "/tables/demo.figures/croissant.json", &[]).ok().json();
    assert_eq!(described["conformsTo"], json!("http://mlcommons.org/croissant/1.1"));
    let Some(python) = python("mlcroissant") else { return };
    let address = format!("http://{}/tables/demo.figures/croissant.json", served.address);
    let mut command = Command::new(&python);
    command.args(["-c", CROISSANT, &address]).current_dir(served.workshop.path()).env("HOME", served.workshop.path());
    let said = Ran::of(&mut command).ok();
    assert!(said.contains("errors 0\n"), "{said}");
    assert!(said.contains(&format!("records {ROWS}\n")) && said.contains("BGR"), "{said}");
}
