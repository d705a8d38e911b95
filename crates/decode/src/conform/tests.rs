//! Conforming, as data: a CSV-like table of source cells and rules in, conformed rows and rejects out.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, DictionaryArray, StringArray};
use arrow::datatypes::Int32Type;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use hambar_core::OnDrift;

use super::*;
use crate::record::Fault;
use crate::spec::{ColumnRule, DecodeJob, FormatKind, FormatSpec, UnpivotSpec};

fn job(columns: &str) -> DecodeJob {
    let columns = columns
        .split(';')
        .map(|text| {
            let mut parts = text.trim().split(' ');
            let mut rule: ColumnRule = serde_json::from_value(
                serde_json::json!({"name": parts.next().unwrap(), "type": parts.next().unwrap()}),
            )
            .unwrap();
            for part in parts {
                match part.split_once('=') {
                    Some(("source", source)) => rule.source = Some(source.replace('~', " ")),
                    Some(("status", status)) => rule.status = Some(status.parse().unwrap()),
                    Some(("format", format)) => rule.format = Some(format.replace('~', " ")),
                    _ => rule.required = true,
                }
            }
            rule
        })
        .collect();
    let format: FormatSpec = serde_json::from_value(serde_json::json!({"kind": FormatKind::Csv})).unwrap();
    DecodeJob::new(format, columns)
}

fn source(table: &str) -> SourceBatch {
    let mut lines =
        table.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| line.split('|').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let rows: Vec<Vec<&str>> = lines.collect();
    let columns = header.iter().enumerate().map(|(index, name)| {
        let cells: StringArray = rows.iter().map(|row| Some(row[index])).collect();
        (*name, Arc::new(cells) as ArrayRef, true)
    });
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    SourceBatch { batch, records: None, first_record: 1, member: None, faults: Vec::new() }
}

fn text(batch: &RecordBatch) -> String {
    let options = FormatOptions::default().with_null("∅");
    let mut lines =
        vec![batch.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>().join("|")];
    for row in 0..batch.num_rows() {
        let cells = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap().value(row).to_string());
        lines.push(cells.collect::<Vec<_>>().join("|"));
    }
    lines.join("\n")
}

fn check_job(job: DecodeJob, table: &str, expected: &str) {
    let mut conformer = Conformer::new(job).unwrap();
    let conformed = conformer.conform(source(table)).unwrap();
    let mut found = text(&conformed.rows);
    if let Some(rejected) = &conformed.rejected {
        for row in 0..rejected.num_rows() {
            let cell = |name: &str| {
                let column = rejected.column_by_name(name).unwrap();
                ArrayFormatter::try_new(column.as_ref(), &FormatOptions::default()).unwrap().value(row).to_string()
            };
            found.push_str(&format!("\nrejected {} {}: {}", cell("row"), cell("column"), cell("reason")));
        }
    }
    let trimmed =
        |text: &str| text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    assert_eq!(trimmed(&found), trimmed(expected));
    let report = conformer.finish().unwrap();
    assert!(report.records >= report.rejected);
}

fn check(columns: &str, table: &str, expected: &str) {
    check_job(job(columns), table, expected);
}

#[test]
fn every_type_reads_its_text() {
    check(
        "a string; b bool; c int32; d int64; e float64; f decimal(10,2); g date; h timestamp",
        "a|b|c|d|e|f|g|h
         x|yes|1|9223372036854775807|1.5|10.25|2024-02-29|2024-01-01T00:00:00Z
         |||||||
         007|0|-1|12.0|1e3|.5|0001-01-01|2024-01-01",
        "a|b|c|d|e|f|g|h
         x|true|1|9223372036854775807|1.5|10.25|2024-02-29|2024-01-01T00:00:00Z
         ∅|∅|∅|∅|∅|∅|∅|∅
         007|false|-1|12|1000.0|0.50|0001-01-01|2024-01-01T00:00:00Z",
    );
}

#[test]
fn bad_cells_reject_their_row_with_place_and_reason() {
    check(
        "a string required; n int64",
        "a|n
         x|1
         y|one
         |3
         z|9223372036854775808",
        "a|n
         x|1
         rejected 2 n: expected int64, found `one`
         rejected 3 a: a value is required
         rejected 4 n: expected int64, found `9223372036854775808`",
    );
}

#[test]
fn missing_values_keep_their_status() {
    let mut job = job("v float64 status=s");
    job.nulls.values = vec![":".into(), "..".into(), ":c".into()];
    check_job(job, "v\n12.3 bp\n:\n: c\n:c\n..\n1.5\n\n7 qq", "v|s\n12.3|bp\n∅|:\n∅|c\n∅|:c\n∅|..\n1.5|∅\n7.0|qq");
}

#[test]
fn periods_are_taken_apart() {
    check(
        "t period source=TIME_PERIOD",
        "TIME_PERIOD
         2024-Q1
         soon
         2024-W05",
        "t|t_start|t_end|t_freq
         2024-Q1|2024-01-01|2024-03-31|Q
         2024-W05|2024-01-29|2024-02-04|W
         rejected 2 t: expected a period, found `soon`",
    );
}

#[test]
fn years_become_rows_and_a_bad_cell_rejects_its_whole_record() {
    let mut job = job("country string; year int32; gdp float64");
    job.unpivot = Some(UnpivotSpec {
        columns: r"^(\d{4})( \[YR\d{4}\])?$".into(),
        name: "year".into(),
        value: "gdp".into(),
        skip_empty: true,
    });
    check_job(
        job,
        "country|2020 [YR2020]|2021
         BGR|1.5|2
         ROU||3
         SRB|x|4",
        "country|year|gdp
         BGR|2020|1.5
         BGR|2021|2.0
         ROU|2021|3.0
         rejected 3 gdp: expected float64, found `x`",
    );
}

#[test]
fn names_are_found_by_made_name_and_decimal_comma_is_read() {
    let mut job = job("gdp_per_head decimal(12,2); ok bool format=OUI|NON");
    job.format.decimal = Some(',');
    job.format.thousands = Some(". ".into());
    check_job(job.clone(), "GDP per head|ok\n1.234,5|oui", "gdp_per_head|ok\n1234.50|true");
    job.ignore = vec!["note*".into()];
    check_job(job, "GDP per head|ok|notes [1]\n1.234,5|NON|n", "gdp_per_head|ok\n1234.50|false");
}

#[test]
fn drift_fails_adds_or_is_reported() {
    let mut failing = Conformer::new(job("a string")).unwrap();
    let error = failing.conform(source("a|b\n1|2")).unwrap_err();
    assert_eq!(error.to_string(), "columns of `body` drifted: not declared: `b`");

    let mut missing = Conformer::new(job("a string; c string")).unwrap();
    missing.conform(source("a\n1")).unwrap();
    assert_eq!(missing.finish().unwrap_err().to_string(), "columns of `body` drifted: missing: `c`");

    let mut sparse = job("a string; c string");
    sparse.format.kind = FormatKind::SdmxMl;
    for (required, expected) in [(false, None), (true, Some("columns of `body` drifted: missing: `c`"))] {
        sparse.columns[1].required = required;
        let mut conformer = Conformer::new(sparse.clone()).unwrap();
        conformer.conform(source("a\n1")).unwrap();
        let found = conformer.finish();
        assert_eq!(found.as_ref().err().map(ToString::to_string).as_deref(), expected);
        assert!(found.is_err() || found.unwrap().columns_missing == ["c"]);
    }

    let adding = DecodeJob { on_drift: OnDrift::AddColumns, ..job("a string; c int64") };
    check_job(adding, "a|New Column\n1|2", "a|c|new_column\n1|∅|2");

    let mut quarantine = Conformer::new(DecodeJob { on_drift: OnDrift::Quarantine, ..job("a string") }).unwrap();
    quarantine.conform(source("a|b\n1|2")).unwrap();
    assert_eq!(quarantine.finish().unwrap().columns_added, vec!["b"]);
}

#[test]
fn too_many_rejects_end_the_job_and_name_the_first() {
    let mut limited = job("n int64");
    limited.limits.rejects_max = 1;
    let mut conformer = Conformer::new(limited).unwrap();
    let error = conformer.conform(source("n\na\nb\nc")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "3 records rejected, more than 1; the first: record 1, column `n`: expected int64, found `a`"
    );
}

#[test]
fn faults_of_the_reader_count_as_records() {
    let mut batch = source("n\n1\n2");
    batch.records = Some(vec![1, 3]);
    batch.faults =
        vec![Fault { record: 2, column: None, reason: "3 cells where the header has 1".into(), raw: "a,b,c".into() }];
    let mut conformer = Conformer::new(job("n int64")).unwrap();
    let conformed = conformer.conform(batch).unwrap();
    assert_eq!(conformed.rejected.unwrap().num_rows(), 1);
    let report = conformer.finish().unwrap();
    assert_eq!((report.records, report.rows, report.rejected), (3, 2, 1));
}

#[test]
fn dictionaries_pass_through_or_convert_once_per_value() {
    let encoded: DictionaryArray<Int32Type> = vec!["1", "2", "x", "1"].into_iter().collect();
    let batch = RecordBatch::try_from_iter_with_nullable([("n", Arc::new(encoded) as ArrayRef, true)]).unwrap();
    let make =
        || SourceBatch { batch: batch.clone(), records: None, first_record: 1, member: None, faults: Vec::new() };
    let texts = Conformer::new(job("n string")).unwrap().conform(make()).unwrap();
    assert!(texts.rows.column(0).as_any_dictionary_opt().is_some());
    let numbers = Conformer::new(job("n int64")).unwrap().conform(make()).unwrap();
    assert_eq!(text(&numbers.rows), "n\n1\n2\n1");
    assert_eq!(numbers.rejected.unwrap().num_rows(), 1);
}

#[test]
fn constants_fill_columns_that_the_body_lacks() {
    let mut job = job("indicator string; v int64");
    job.constants.insert("indicator".into(), "NY.GDP".into());
    check_job(job, "v\n1", "indicator|v\nNY.GDP|1");
}

#[test]
fn wide_rows_are_conformed_a_few_at_a_time() {
    let mut job = job("country string; year int32; gdp float64");
    job.unpivot =
        Some(UnpivotSpec { columns: r"^\d+$".into(), name: "year".into(), value: "gdp".into(), skip_empty: false });
    let years: Vec<String> = (0..1000).map(|year| year.to_string()).collect();
    let row = format!("BG{}", "|1.5".repeat(1000));
    let mut batch = source(&format!("country|{}\n{}", years.join("|"), format!("{row}\n").repeat(1500)));
    let mut conformer = Conformer::new(job).unwrap();
    let at_once = conformer.rows_at_once(&batch);
    assert_eq!(at_once, 4 * 1024 * 1024 / 3000);
    let rest = batch.split_off(at_once).unwrap();
    assert_eq!((batch.batch.num_rows(), rest.batch.num_rows()), (at_once, 1500 - at_once));
    assert_eq!(rest.first_record, at_once as u64 + 1);
    assert_eq!(conformer.conform(rest).unwrap().rows.num_rows(), (1500 - at_once) * 1000);
}
