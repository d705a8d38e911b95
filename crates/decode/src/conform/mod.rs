//! Arrow in the source's terms → Arrow in the table's terms. Rows that break the contract are set aside with their
//! place, reason and raw text; nothing is dropped silently, so records in = rows out + rejects.

mod cast;
mod columns;
pub(crate) mod number;
pub mod period;
mod reject;
pub(crate) mod temporal;
mod typed;
mod unpivot;
mod widen;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use hambar_core::OnDrift;
use hambar_core::limits::{BATCH_CELLS, COLUMNS_MAX};

pub use columns::table_columns;

use crate::error::DecodeError;
use crate::record::{Conformed, DecodeReport, SourceBatch};
use crate::spec::{ColumnRule, DecodeJob};
use cast::CellRule;
use columns::Mapping;
use reject::Rejects;
use unpivot::Unpivot;

/// Conforms the batches of one decode job, one after the other.
#[derive(Debug)]
pub struct Conformer {
    job: DecodeJob,
    rules: Vec<CellRule>,
    schema: SchemaRef,
    unpivot: Option<Unpivot>,
    mapping: Option<Mapping>,
    seen: BTreeSet<String>,
    added: BTreeSet<String>,
    report: DecodeReport,
}

impl Conformer {
    /// Prepares the rules of `job`.
    ///
    /// # Errors
    /// [`DecodeError::Setting`] for a pattern or glob that does not compile.
    pub fn new(job: DecodeJob) -> Result<Self, DecodeError> {
        let schema = Arc::new(Schema::new(
            table_columns(&job.columns).iter().map(|column| column.to_field()).collect::<Vec<_>>(),
        ));
        let unpivot = job.unpivot.as_ref().map(Unpivot::new).transpose()?;
        let rules = columns::cell_rules(&job);
        Ok(Self {
            job,
            rules,
            schema,
            unpivot,
            mapping: None,
            seen: BTreeSet::new(),
            added: BTreeSet::new(),
            report: DecodeReport::default(),
        })
    }

    /// Returns the schema of conformed rows: the declared columns, expanded.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Returns how many rows of `source` should be conformed at a time, so that what becomes of them is no larger than a
    /// batch: a wide row can become thousands.
    pub fn rows_at_once(&self, source: &SourceBatch) -> usize {
        let cells = self.unpivot.as_ref().map_or(1, |unpivot| unpivot.cells_of_a_row(source.batch.schema_ref()));
        (BATCH_CELLS / cells.max(1)).max(1)
    }

    /// Conforms one batch. Under [`OnDrift::AddColumns`] and [`OnDrift::Widen`] undeclared columns follow the declared ones as text.
    /// Under [`OnDrift::Widen`] a column may come in a wider type than declared, where values of the batch need it.
    ///
    /// # Errors
    /// Undeclared columns under [`OnDrift::Fail`], a column whose type can never fit, more rejects than the job
    /// allows.
    pub fn conform(&mut self, source: SourceBatch) -> Result<Conformed, DecodeError> {
        let records = source.batch.num_rows() as u64 + source.faults.len() as u64;
        self.report.records += records;
        let wide = self.with_constants(&source.batch)?;
        let (batch, origin) = match &self.unpivot {
            None => (wide, None),
            Some(unpivot) => {
                let (long, origin) = unpivot.apply(&wide)?;
                (long, Some(origin))
            }
        };
        if self.mapping.as_ref().is_none_or(|mapping| !mapping.fits(batch.schema_ref())) {
            self.map_columns(&batch, source.member.as_deref())?;
        }
        let (columns, failures) = self.cast_columns(&batch)?;
        let fields = self.output_fields(&columns);
        let rows = batch_of(fields, columns, batch.num_rows())?;

        let mut rejects = Rejects::new(source.member.clone());
        for fault in &source.faults {
            rejects.push_fault(fault);
        }
        let rejected_rows = rejects.push_failures(&source, &batch, origin.as_deref(), failures);
        let rows = if rejected_rows.is_empty() {
            rows
        } else {
            let keep: BooleanArray = (0..rows.num_rows()).map(|row| Some(!rejected_rows.contains(&row))).collect();
            filter_record_batch(&rows, &keep).map_err(|error| internal("filter rows", &error))?
        };
        self.report.rows += rows.num_rows() as u64;
        self.count_rejects(&rejects)?;
        Ok(Conformed { rows, rejected: rejects.into_batch() })
    }

    /// Ends the job: checks for declared columns that never came.
    ///
    /// # Errors
    /// [`DecodeError::Drift`] under [`OnDrift::Fail`], if any rows came at all.
    pub fn finish(mut self) -> Result<DecodeReport, DecodeError> {
        self.report.columns_added = self.added.into_iter().collect();
        if self.report.records > 0 {
            let missing = self.job.columns.iter().filter(|rule| !self.seen.contains(rule.name.as_str()));
            self.report.columns_missing =
                missing.map(|rule| rule.source.clone().unwrap_or_else(|| rule.name.to_string())).collect();
        }
        // What a row of a sparse format cannot do without is `required`.
        let is_sparse = self.job.format.kind.is_sparse();
        let is_gone = |rule: &ColumnRule| !self.seen.contains(rule.name.as_str()) && (rule.required || !is_sparse);
        let has_lost_columns = self.report.records > 0 && self.job.columns.iter().any(is_gone);
        if self.job.on_drift == OnDrift::Fail && has_lost_columns {
            let what = format!("missing: `{}`", self.report.columns_missing.join("`, `"));
            return Err(DecodeError::Drift { file: "body".to_owned(), what });
        }
        Ok(self.report)
    }

    fn with_constants(&self, batch: &RecordBatch) -> Result<RecordBatch, DecodeError> {
        if self.job.constants.is_empty() {
            return Ok(batch.clone());
        }
        let mut fields: Vec<Arc<Field>> = batch.schema_ref().fields().iter().cloned().collect();
        let mut columns = batch.columns().to_vec();
        for (name, text) in &self.job.constants {
            let column: ArrayRef = Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, batch.num_rows())));
            match fields.iter().position(|field| field.name() == name) {
                // The body's own value wins where it has one.
                Some(_) => {}
                None => {
                    fields.push(Arc::new(Field::new(name, column.data_type().clone(), true)));
                    columns.push(column);
                }
            }
        }
        batch_of(fields, columns, batch.num_rows())
    }

    fn map_columns(&mut self, batch: &RecordBatch, member: Option<&str>) -> Result<(), DecodeError> {
        let mapping = Mapping::new(batch.schema_ref(), &self.job)?;
        for (rule, source) in self.job.columns.iter().zip(mapping.sources()) {
            if source.is_some() {
                self.seen.insert(rule.name.to_string());
            }
        }
        let undeclared: Vec<&str> = mapping.undeclared().map(|(_, name)| name).collect();
        if self.job.on_drift == OnDrift::Fail && !undeclared.is_empty() {
            return Err(DecodeError::Drift {
                file: member.unwrap_or("body").to_owned(),
                what: format!("not declared: `{}`", undeclared.join("`, `")),
            });
        }
        self.added.extend(undeclared.into_iter().map(str::to_owned));
        if self.added.len() > COLUMNS_MAX {
            return Err(DecodeError::Limit {
                file: member.unwrap_or("body").to_owned(),
                limit: "columns_max",
                value: COLUMNS_MAX as u64,
                unit: "columns",
                place: "undeclared columns".to_owned(),
            });
        }
        self.mapping = Some(mapping);
        Ok(())
    }

    /// Returns the table's columns and, by row, the column at fault and the reason.
    fn cast_columns(&self, batch: &RecordBatch) -> Result<(Vec<ArrayRef>, Failures), DecodeError> {
        let mapping = self.mapping.as_ref().expect("the caller has mapped the columns of this batch");
        let (mut columns, mut failures) = (Vec::new(), Failures::new());
        for (rule, source) in self.rules.iter().zip(mapping.sources()) {
            let source = source.map(|index| batch.column(index));
            let mut cast = rule.cast(source, batch.num_rows())?;
            if let (OnDrift::Widen, Some(source)) = (self.job.on_drift, source) {
                cast = widen::widened(rule, source, cast)?;
            }
            columns.extend(cast.columns);
            for (row, reason) in cast.failures {
                failures.entry(row).or_insert_with(|| (rule.name.clone(), reason));
            }
        }
        if matches!(self.job.on_drift, OnDrift::AddColumns | OnDrift::Widen) {
            for (index, _) in mapping.undeclared() {
                columns.push(columns::as_text(batch.column(index))?);
            }
        }
        Ok((columns, failures))
    }

    /// The declared fields with the types as delivered (text may be dictionary-encoded), then the added ones.
    fn output_fields(&self, columns: &[ArrayRef]) -> Vec<Arc<Field>> {
        let mut fields: Vec<Arc<Field>> = self.schema.fields().iter().cloned().collect();
        if let Some(mapping) = self.mapping.as_ref().filter(|_| columns.len() > fields.len()) {
            fields.extend(mapping.undeclared().map(|(_, name)| Arc::new(columns::added_column(name).to_field())));
        }
        fields
            .into_iter()
            .zip(columns)
            .map(|(field, column)| {
                if field.data_type() == column.data_type() {
                    field
                } else {
                    Arc::new(field.as_ref().clone().with_data_type(column.data_type().clone()))
                }
            })
            .collect()
    }

    fn count_rejects(&mut self, rejects: &Rejects) -> Result<(), DecodeError> {
        self.report.rejected += rejects.records();
        if self.report.first_reject.is_none() {
            self.report.first_reject = rejects.first();
        }
        if self.report.rejected > self.job.limits.rejects_max {
            return Err(DecodeError::Rejects {
                rejected: self.report.rejected,
                rejects_max: self.job.limits.rejects_max,
                first: self.report.first_reject.clone().unwrap_or_default(),
            });
        }
        Ok(())
    }
}

/// By row index: the declared column at fault and the reason.
type Failures = BTreeMap<usize, (String, String)>;

fn batch_of(fields: Vec<Arc<Field>>, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, DecodeError> {
    let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(|error| internal("build rows", &error))
}

fn internal(step: &'static str, error: &arrow::error::ArrowError) -> DecodeError {
    DecodeError::Setting { setting: "columns", what: format!("{step}: {error}") }
}

#[cfg(test)]
mod tests;
