//! Gives columns a wider type: every data file is written anew with it, in the commit that changes the schema.
//!
//! Delta's own `typeWidening` leaves the files as they are and asks every reader to convert them, which not all can. Here
//! any reader finds one type everywhere. A file becomes one file (or some), read and written batch by batch, and what
//! was written is read back and compared before it counts. Versions from before keep their files and their types.
//!
//! The fingerprint is one of values in the table's types: int32 and int64, and decimals of any width, give the same one;
//! to float64, to a decimal from a whole number, or to a timestamp it changes, and is computed anew.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use hambar_core::{Fingerprint, StoreError, provenance};
use serde_json::Value;

use crate::actions::{Add, Line, Metadata, Remove};
use crate::bounds;
use crate::commit::info;
use crate::encode::{Encoded, FileWriter, Folder};
use crate::error::{damaged, job, rows};
use crate::lake::Lake;
use crate::layout;
use crate::log::{LogState, TableLog};
use crate::maintain::sort_key;
use crate::output::SortedOutput;
use crate::partition::{PartitionValues, Partitioning};
use crate::publish::{Spool, TAG_DIGEST, data_folder, flush_entries, publish};
use crate::reader::{FileReader, check_bytes, local_copy};
use crate::snapshot::PROPERTY_FINGERPRINT;
use crate::sortkey::SortKey;

type Tags = BTreeMap<String, Option<String>>;

/// Writes all files of the table at `state` anew in the columns `schema`, and returns the commit that takes them over;
/// `metadata` already has the new schema.
pub(crate) async fn widen(
    lake: &Lake,
    log: &TableLog,
    state: &LogState,
    schema: &SchemaRef,
    mut metadata: Metadata,
) -> Result<Vec<Line>, StoreError> {
    let spool = Spool::new(lake)?;
    let folder = data_folder(lake, log, &spool)?;
    let partitioning = Partitioning::new(&state.metadata.partition_columns);
    let key = sort_key(log, state, schema)?;
    let now = lake.inner.clock.now().as_millisecond();
    let (mut removes, mut adds) = (Vec::new(), Vec::new());
    let mut content = Fingerprint::default();
    for add in state.files.values() {
        let work = Work {
            label: log.label.clone(),
            schema: schema.clone(),
            add: Arc::clone(add),
            path: local_copy(lake, log, add, spool.path()).await?,
            is_copy: lake.local_root().is_none(),
            folder: folder.clone(),
            partitioning: partitioning.clone(),
            key: key.clone().filter(|key| is_in_order(add, key, &partitioning)),
        };
        let done = tokio::task::spawn_blocking(move || work.run()).await;
        let done = done.map_err(|error| job(&log.label, &error))??;
        content = content.plus(done.content);
        flush_entries(lake, &folder, done.files.iter().map(|(_, file, _)| file)).await?;
        for (values, file, tags) in done.files {
            let new = publish(lake, log, partitioning.columns(), &values, &file, tags).await?;
            adds.push(Add { data_change: false, ..new });
        }
        removes.push(Remove::of(add, now, false));
    }
    if metadata.configuration.contains_key(PROPERTY_FINGERPRINT) {
        metadata.configuration.insert(PROPERTY_FINGERPRINT.to_owned(), content.to_string());
    }
    let facts = [("hambar.rows", Value::from(0)), ("hambar.copied", content.rows.into())];
    let mut lines = vec![info("CHANGE COLUMN", now, facts), Line { meta_data: Some(metadata), ..Line::default() }];
    lines.extend(removes.into_iter().map(|remove| Line { remove: Some(remove), ..Line::default() }));
    lines.extend(adds.into_iter().map(|add| Line { add: Some(add), ..Line::default() }));
    Ok(lines)
}

/// Says whether the log vouches for the order of a file's rows.
fn is_in_order(add: &Add, key: &SortKey, partitioning: &Partitioning) -> bool {
    let own = key.columns().iter().filter(|column| !partitioning.columns().contains(column)).cloned();
    bounds::read(add, &own.collect::<Vec<_>>()).is_some()
}

/// One file to be written anew.
struct Work {
    label: String,
    schema: SchemaRef,
    add: Arc<Add>,
    path: PathBuf,
    is_copy: bool,
    folder: Folder,
    partitioning: Partitioning,
    key: Option<SortKey>,
}

/// What became of it.
struct Done {
    files: Vec<(PartitionValues, Encoded, Tags)>,
    /// Fingerprint of the content, in the new types.
    content: Fingerprint,
}

impl Work {
    fn run(&self) -> Result<Done, StoreError> {
        // Damage must not be copied into a file that looks sound.
        check_bytes(&self.label, &self.path, &self.add)?;
        let mut before = Fingerprint::default();
        let mut content = Fingerprint::default();
        let mut target = match &self.key {
            Some(key) => Target::Sorted(Box::new(SortedOutput::new(
                &self.label,
                self.folder.clone(),
                self.partitioning.clone(),
                key,
                &self.schema,
            ))),
            None => Target::Plain { file: None, values: Vec::new() },
        };
        for batch in FileReader::open(&self.label, &self.path, &self.add, &self.schema, None)? {
            let batch = batch?;
            let wrong = |error: arrow::error::ArrowError| rows(&self.label, error.to_string());
            before.add(&batch, |_| true).map_err(wrong)?;
            content.add(&batch, |name| !name.starts_with('_')).map_err(wrong)?;
            self.write(&mut target, &batch)?;
        }
        if self.is_copy {
            // Scratch space; it goes with the spool at the latest.
            let _ = std::fs::remove_file(&self.path);
        }
        let files = self.finish(target)?;
        let after = self.read_back(&files)?;
        if before != after {
            let what = format!("widening its columns would change its content from {before} to {after}");
            return Err(damaged(&self.label, format!("data file `{}`: {what}", self.add.path)));
        }
        Ok(Done { files, content })
    }

    fn write(&self, target: &mut Target, batch: &arrow::array::RecordBatch) -> Result<(), StoreError> {
        match target {
            Target::Sorted(output) => output.write(batch),
            Target::Plain { file, values } => {
                let wrong = |error: String| rows(&self.label, error);
                let mut parts = self.partitioning.split(batch).map_err(|error| wrong(error.to_string()))?;
                let (found, bare) = match (parts.pop(), parts.is_empty()) {
                    (Some(part), true) => part,
                    _ => return Err(wrong("a data file belongs to several partitions".to_owned())),
                };
                *values = found;
                let open = match file {
                    Some(open) => open,
                    None => {
                        let folder = self.folder.within(layout::folder(self.partitioning.columns(), values));
                        file.insert(Box::new(FileWriter::create(&folder, bare.schema_ref())?))
                    }
                };
                open.write(&bare)
            }
        }
    }

    fn finish(&self, target: Target) -> Result<Vec<(PartitionValues, Encoded, Tags)>, StoreError> {
        match target {
            Target::Sorted(output) => {
                let files = output.finish()?;
                Ok(files.into_iter().map(|file| (file.values, file.encoded, file.tags)).collect())
            }
            Target::Plain { file: None, .. } => Ok(Vec::new()),
            Target::Plain { file: Some(file), values } => {
                // What marks the file's rows as those of a run goes with them.
                let mut tags = self.add.tags.clone().unwrap_or_default();
                tags.remove(TAG_DIGEST);
                Ok(vec![(values, file.finish()?, tags)])
            }
        }
    }

    fn read_back(&self, files: &[(PartitionValues, Encoded, Tags)]) -> Result<Fingerprint, StoreError> {
        let mut found = Fingerprint::default();
        for (values, file, _) in files {
            let columns = self.partitioning.columns().iter().cloned();
            let add = Add {
                path: file.name.clone(),
                partition_values: columns.zip(values.iter().cloned()).collect(),
                size: file.size,
                ..self.add.as_ref().clone()
            };
            for batch in FileReader::open(&self.label, &file.path, &add, &self.schema, None)? {
                found.add(&batch?, |_| true).map_err(|error| rows(&self.label, error.to_string()))?;
            }
        }
        Ok(found)
    }
}

/// Where the rows go.
enum Target {
    /// The file is in order, and so is what it becomes.
    Sorted(Box<SortedOutput>),
    /// It is not.
    Plain { file: Option<Box<FileWriter>>, values: PartitionValues },
}

/// The columns of the table of `schema` without provenance.
pub(crate) fn content_of(schema: &Schema) -> SchemaRef {
    let is_provenance = |name: &str| name == provenance::RECORDED_AT || name == provenance::SOURCE;
    let kept = schema.fields().iter().filter(|field| !is_provenance(field.name())).cloned();
    Arc::new(Schema::new(kept.collect::<Vec<_>>()))
}
