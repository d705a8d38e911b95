//! `check`, `config`, `schema`: looking at files and settings without touching store or network.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, StringArray};
use arrow::record_batch::RecordBatch;
use hambar_run::{Pipeline, Problem};

use crate::args::{CheckArguments, ListArguments};
use crate::context::{Context, counted, told};
use crate::output;

/// `hambar check`
pub(crate) fn check(context: &Context, arguments: &CheckArguments) -> Result<()> {
    let mut problems: Vec<Problem> = Vec::new();
    let mut right = 0;
    if arguments.names.is_empty() {
        match Pipeline::load_all(&context.config.pipelines.folder) {
            Ok(pipelines) => right = pipelines.len(),
            Err(found) => problems = found,
        }
    } else {
        for file in context.pipeline_files(&arguments.names)? {
            match Pipeline::load(&file) {
                Ok(_) => right += 1,
                Err(found) => problems.extend(found),
            }
        }
    }
    if !problems.is_empty() {
        return Err(told(&problems));
    }
    println!("{} checked, nothing to mend", counted(right, "pipeline"));
    Ok(())
}

/// `hambar config`
pub(crate) fn config(context: &Context, arguments: &ListArguments) -> Result<()> {
    let entries: Vec<_> = context.layers.entries().collect();
    let column = |texts: Vec<String>| Arc::new(StringArray::from(texts)) as ArrayRef;
    let batch = RecordBatch::try_from_iter([
        ("setting", column(entries.iter().map(|entry| entry.key.clone()).collect())),
        ("value", column(entries.iter().map(|entry| entry.value.to_string()).collect())),
        ("from", column(entries.iter().map(|entry| entry.origin.to_string()).collect())),
    ])?;
    output::print(&batch, arguments.format)
}

/// `hambar schema`
pub(crate) fn schema() -> Result<()> {
    println!("{}", serde_json::to_string_pretty(&hambar_run::spec::json_schema())?);
    Ok(())
}
