//! Pipeline files: what is wrong is said all at once, with place and advice.

use std::path::Path;

use hambar_run::Pipeline;
use hambar_run::spec::parse;

/// A right file, to be spoiled.
const RIGHT: &str = r#"version = 1
contact = "data@example.org"

[source]
kind = "http_file"
url = "https://example.org/gdp.csv"

[format]
kind = "csv"

[[columns]]
name = "country"
type = "string"

[[columns]]
name = "period"
source = "TIME_PERIOD"
type = "period"

[[columns]]
name = "value"
type = "decimal(18,2)"
status = "flag"

[write]
mode = "upsert"
key = ["country", "period_start"]
partition_by = ["country"]

[schedule]
cron = "30 6 * * 1-5"
timezone = "UTC"

[origin]
provider = "Example"
title = "GDP"
citation = "Example, GDP"
licence = "CC-BY-4.0"
"#;

fn problems_of(text: &str) -> String {
    match parse(Path::new("x/y.toml"), "x.y".parse().unwrap(), text) {
        Ok(_) => "none".to_owned(),
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

/// Replaces one text of the right file and compares the problems.
fn check(from: &str, to: &str, expected: &str) {
    assert!(RIGHT.contains(from), "`{from}` is not in the file");
    assert_eq!(problems_of(&RIGHT.replacen(from, to, 1)), expected, "{from} → {to}");
}

#[test]
fn a_right_file_is_read() {
    let pipeline = parse(Path::new("x/y.toml"), "x.y".parse().unwrap(), RIGHT).unwrap();
    let columns: Vec<&str> = pipeline.table.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(columns, ["country", "period", "period_start", "period_end", "period_freq", "value", "flag"]);
    assert_eq!(pipeline.job.limits.rejects_max, 10_000);
    let job = pipeline.scheduled().unwrap();
    assert_eq!((job.name.to_string().as_str(), job.provider.as_deref()), ("x.y", Some("Example")));
    assert_eq!(job.schedule.catch_up, hambar_run::schedule::CatchUp::Once);
}

#[test]
fn each_problem_has_a_place_and_advice() {
    check(
        "version = 1",
        "version = 2",
        "x/y.toml:1:11: version 2 of the pipeline file is not known\n  help: this program reads version 1",
    );
    check("version = 1", "version = \"1\"", "x/y.toml:1:11: `version` must be an integer, not a text");
    check(
        "contact = \"data@example.org\"",
        "contact = \"me\"",
        "x/y.toml:2:11: `me` is neither an e-mail address nor a web page\n  help: for instance `data@example.org`",
    );
    check(
        "[format]",
        "[formta]",
        "x/y.toml:1:1: `format` is missing\n  help: How bytes become records.\nx/y.toml:8:2: unknown key `formta`\n  help: did you mean `format`?",
    );
    check(
        "kind = \"csv\"",
        "kind = \"cvs\"",
        "x/y.toml:9:8: `cvs` is not known to `format.kind`\n  help: did you mean `csv`?",
    );
    check(
        "name = \"value\"",
        "name = \"Value\"",
        "x/y.toml:21:8: `Value` is not a name: use a to z, 0 to 9 and `_`, not starting with a digit, at most 63 bytes\n  help: for instance `value`; the source's own name goes into `source`",
    );
    check(
        "name = \"value\"",
        "name = \"_value\"",
        "x/y.toml:21:8: `_value` starts with `_`, which is reserved for Hambar's own columns\n  help: call it `value`",
    );
    check(
        "name = \"value\"",
        "name = \"period_end\"",
        "x/y.toml:21:8: column `period_end` is made twice, by `period` and by `period_end`\n  help: a `period` adds `_start`, `_end` and `_freq`; rename one of the columns",
    );
    check(
        "name = \"value\"",
        "name = \"country\"",
        "x/y.toml:21:8: column `country` is declared twice\n  help: remove or rename one of them",
    );
    check(
        "decimal(18,2)",
        "int",
        "x/y.toml:22:8: `int` is not a column type: use string, bool, int32, int64, float64, decimal(p,s), date, timestamp, binary, list<T> or struct<name: T>\n  help: did you mean `int64`?",
    );
    check(
        "\"period_start\"",
        "\"zone\"",
        "x/y.toml:27:19: `write.key` names `zone`, which is no column\n  help: the columns are: country, period, period_start, period_end, period_freq, value, flag",
    );
    check(
        "\"period_start\"",
        "\"countri\"",
        "x/y.toml:27:19: `write.key` names `countri`, which is no column\n  help: did you mean `country`?",
    );
    check(
        "key = [\"country\", \"period_start\"]\n",
        "",
        "x/y.toml:26:8: mode `upsert` needs a key\n  help: name the columns that identify a row in `write.key`, or use mode `snapshot` or `append`",
    );
    check(
        "partition_by = [\"country\"]",
        "partition_by = [\"value\"]",
        "x/y.toml:28:17: `write.partition_by` names `value`, but a table is not split by decimal(18,2); use string, bool, int32, int64 or date",
    );
    check(
        "mode = \"upsert\"",
        "mode = \"replace\"",
        "x/y.toml:26:8: `replace` is not known to `write.mode`\n  help: one of: append, snapshot, upsert",
    );
    check(
        "30 6 * * 1-5",
        "30 6 * *",
        "x/y.toml:31:8: `30 6 * *` has 4 fields instead of five\n  help: minute, hour, day of month, month, day of week: `30 6 * * 1-5` is half past six from Monday to Friday",
    );
    check(
        "timezone = \"UTC\"",
        "timezone = \"Sofia\"",
        "x/y.toml:32:12: `Sofia` is not a time zone\n  help: use an IANA name such as `Europe/Sofia`, or `UTC`",
    );
    check(
        "CC-BY-4.0",
        "cc-by-4.0",
        "x/y.toml:38:11: `cc-by-4.0` is not a licence identifier that is known here\n  help: did you mean `CC-BY-4.0`? Else see https://spdx.org/licenses/, or `LicenseRef-` and a name for the provider's own terms, for instance `LicenseRef-WorldBank-Terms`",
    );
    check(
        "title = \"GDP\"",
        "titel = \"GDP\"",
        "x/y.toml:34:1: `origin.title` is missing\n  help: The dataset's title as the provider gives it.\nx/y.toml:36:1: unknown key `origin.titel`\n  help: did you mean `title`?",
    );
}

#[test]
fn schedules_are_checked() {
    const HELP: &str =
        "minute, hour, day of month, month, day of week: `30 6 * * 1-5` is half past six from Monday to Friday";
    const CRON: &str = "cron = \"30 6 * * 1-5\"";
    check(CRON, "cron = \"0 0 30 2 *\"", &format!("x/y.toml:31:8: `0 0 30 2 *` never comes\n  help: {HELP}"));
    check(
        CRON,
        "cron = \"6 * * 1-5\"",
        &format!("x/y.toml:31:8: `6 * * 1-5` has 4 fields instead of five\n  help: {HELP}"),
    );
    check(
        "timezone = \"UTC\"",
        "timezone = \"Sofia\"",
        "x/y.toml:32:12: `Sofia` is not a time zone\n  help: use an IANA name such as `Europe/Sofia`, or `UTC`",
    );
    check(
        CRON,
        "adaptive = { shortest_minutes = 9, longest_minutes = 5 }",
        "x/y.toml:31:12: 9 to 5 minutes are no range of at least 1 and at most 527040",
    );
    check(
        CRON,
        "cron = \"@daily\"\nadaptive = {}",
        "x/y.toml:32:12: `cron` and `adaptive` exclude each other\n  help: leave one of them out",
    );
    check(
        CRON,
        "cron = \"@daily\"\njitter_minutes = 1441",
        "x/y.toml:32:18: 1441 minutes are more than a day\n  help: at most 1440",
    );
    let adaptive = RIGHT.replacen(CRON, "adaptive = {}\npriority = \"high\"\ncatch_up = \"skip\"", 1);
    assert_eq!(problems_of(&adaptive), "none");
    let problems = problems_of(&RIGHT.replacen(CRON, "", 1));
    assert!(problems.contains("neither `cron` nor `adaptive` says when the pipeline is due"), "{problems}");
}

#[test]
fn all_problems_come_at_once() {
    let text = RIGHT
        .replacen("decimal(18,2)", "numbers", 1)
        .replacen("\"country\", \"period_start\"", "\"contry\"", 1)
        .replacen("CC-BY-4.0", "", 1)
        .replacen("[schedule]", "[schedule]\ncolour = 3", 1);
    let places: Vec<String> = parse(Path::new("x/y.toml"), "x.y".parse().unwrap(), &text)
        .unwrap_err()
        .iter()
        .map(|problem| format!("{}:{}", problem.line, problem.column))
        .collect();
    assert_eq!(places, ["22:8", "27:8", "31:1", "39:11"]);
}

#[test]
fn text_that_is_no_toml_has_one_problem() {
    let problems = problems_of("version = = 1");
    assert!(problems.starts_with("x/y.toml:1:1") && problems.contains("not TOML"), "{problems}");
}

#[test]
fn a_folder_of_files_is_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    };
    write("a/one.toml", RIGHT);
    write("b/two.toml", RIGHT);
    write("b/README.md", "not a pipeline");
    let names =
        |pipelines: Vec<Pipeline>| pipelines.iter().map(|pipeline| pipeline.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(Pipeline::load_all(folder.path()).unwrap()), ["a.one", "b.two"]);
    write("b/Bad Name.toml", RIGHT);
    write("system/x.toml", RIGHT);
    write("c/x__history.toml", "version = 2");
    write("stray.toml", RIGHT);
    let problems = Pipeline::load_all(folder.path()).unwrap_err();
    let all = problems.iter().map(|problem| problem.what.clone()).collect::<Vec<_>>().join("\n");
    for expected in [
        "`Bad Name` is not a name",
        "namespace `system` is reserved",
        "`x__history` is reserved",
        "version 2",
        "in the folder of its namespace",
    ] {
        assert!(all.contains(expected), "{expected}: {all}");
    }
}
