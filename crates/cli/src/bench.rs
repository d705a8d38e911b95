//! `hambar bench`: ingestion of one file on this machine, stage by stage: the decode worker, the Delta writer, the commit.
//! The path is that of a run without the network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hambar_core::{
    Checkpoint, CommitOutcome, CommitRequest, Ident, Licence, OnDrift, Origin, Redistribution, RunId, RunStamp,
    TableName, TableSpec, TableStore, WriteMode,
};
use hambar_decode::infer;
use hambar_decode::spec::{ColumnRule, DecodeJob, DecodeLimits, FormatKind, FormatSpec, NullSpec, RuleType};
use hambar_decode::{DecodeError, Input, for_each_member, table_columns};
use hambar_lake::{Access, Lake};
use hambar_run::add::{SurveyRequest, survey_in_child};
use hambar_run::decode_pool::{DecodePool, DecodeTask, Decoded, ProcessPool, ProcessSettings};

use crate::args::BenchArguments;
use crate::context::Context;

/// Runs the measurement.
pub(crate) async fn bench(context: &Context, arguments: &BenchArguments) -> Result<()> {
    let file = &arguments.file;
    let bytes = std::fs::metadata(file).with_context(|| format!("read `{}`", file.display()))?.len();
    let scratch = tempfile::tempdir().context("make a scratch folder")?;
    let folder = arguments.keep.clone().unwrap_or_else(|| scratch.path().join("store"));

    let begin = Instant::now();
    let job = job(context, arguments)?;
    let looked = begin.elapsed();

    let lake =
        Lake::open(&folder.display().to_string(), &BTreeMap::new(), Access::ReadWrite, Arc::clone(&context.clock))
            .await?;
    let spec = spec(arguments, &job)?;
    let measured = ingest(context, &lake, &spec, file, job).await?;

    let snapshot = lake.snapshot(&spec.name, None).await?;
    let stored: u64 = snapshot.files.iter().map(|file| file.size).sum();
    let total = measured.total.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "rates for people")]
    let (megabytes, rows) = (bytes as f64 / 1e6, measured.rows as f64);
    println!("{}: {megabytes:.1} MB, {} rows, {} rejected", file.display(), measured.rows, measured.rejected);
    println!("  look at the file     {:>8.2} s (dialect and types; not part of a run)", looked.as_secs_f64());
    println!(
        "  wait for the worker  {:>8.2} s (decode and conform, in a confined process)",
        measured.decode.as_secs_f64()
    );
    println!(
        "  write                {:>8.2} s (hand over to Parquet, side by side with decoding)",
        measured.write.as_secs_f64()
    );
    println!(
        "  commit               {:>8.2} s (finish files, flush, commit, read back)",
        measured.commit.as_secs_f64()
    );
    println!("  whole                {total:>8.2} s = {:.1} MB/s, {:.0} rows/s", megabytes / total, rows / total);
    println!("  stored               {:>8.1} MB in {} files", to_megabytes(stored), snapshot.files.len());
    println!(
        "  peak memory          {:>8.1} MB here, {:.1} MB in the worker",
        to_megabytes(peak(false)),
        to_megabytes(peak(true))
    );
    if arguments.keep.is_some() {
        println!("  table                {} in `{}`", spec.name, folder.display());
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a size for people")]
fn to_megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Peak resident bytes of this process, or of the largest worker that has ended.
fn peak(of_children: bool) -> u64 {
    use nix::sys::resource::{UsageWho, getrusage};
    let who = if of_children { UsageWho::RUSAGE_CHILDREN } else { UsageWho::RUSAGE_SELF };
    getrusage(who).map_or(0, |usage| u64::try_from(usage.max_rss()).unwrap_or(0) * 1024)
}

/// The format and columns of the file: inferred from all of it, or every column of its first rows as text.
fn job(context: &Context, arguments: &BenchArguments) -> Result<DecodeJob> {
    let file =
        std::path::absolute(&arguments.file).with_context(|| format!("resolve `{}`", arguments.file.display()))?;
    let mut job = DecodeJob {
        format: format(&file)?,
        columns: Vec::new(),
        nulls: NullSpec::default(),
        unpivot: None,
        on_drift: OnDrift::Quarantine,
        ignore: Vec::new(),
        constants: BTreeMap::new(),
        limits: DecodeLimits { threads: context.config.decode.threads, ..DecodeLimits::default() },
    };
    if arguments.as_text {
        job.columns = text_columns(&file, &job)?;
        return Ok(job);
    }
    let request = SurveyRequest {
        file_name: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        body: file,
        members: None,
        record_path: None,
    };
    let survey = survey_in_child(&settings()?, request).map_err(|what| anyhow::anyhow!(what))?;
    (job.format, job.columns, job.nulls, job.unpivot) = (survey.format, survey.columns, survey.nulls, survey.unpivot);
    Ok(job)
}

fn text_columns(file: &Path, job: &DecodeJob) -> Result<Vec<ColumnRule>> {
    let mut found = Vec::new();
    let input = Input::File(std::fs::File::open(file).with_context(|| format!("read `{}`", file.display()))?);
    let looked = for_each_member(input, job, &std::env::temp_dir(), &mut |_, mut source| {
        if let Some(batch) = source.next_batch()? {
            found = batch.batch.schema_ref().fields().iter().map(|field| text_rule(field.name())).collect();
        }
        // The rest of the file need not be looked at.
        Err(DecodeError::Stopped)
    });
    match looked {
        Ok(_) | Err(DecodeError::Stopped) if !found.is_empty() => Ok(found),
        Ok(_) | Err(DecodeError::Stopped) => bail!("`{}` has no rows", file.display()),
        Err(error) => Err(error.into()),
    }
}

/// Workers with the default limits.
fn settings() -> Result<ProcessSettings> {
    let program = crate::context::own_program()?;
    Ok(ProcessSettings::new(program, 1))
}

fn text_rule(name: &str) -> ColumnRule {
    ColumnRule {
        name: Ident::from_source(name),
        source: Some(name.to_owned()),
        kind: RuleType::Plain(hambar_core::ColumnType::String),
        required: false,
        unit: None,
        description: None,
        format: None,
        nulls: Vec::new(),
        status: None,
    }
}

fn format(path: &Path) -> Result<FormatSpec> {
    use std::io::Read;
    let file = std::fs::File::open(path).with_context(|| format!("read `{}`", path.display()))?;
    let mut head = Vec::new();
    (&file).take(64 * 1024).read_to_end(&mut head).with_context(|| format!("read `{}`", path.display()))?;
    let sniffed = infer::sniff(&head);
    let kind = sniffed.kind.unwrap_or(FormatKind::Csv);
    if matches!(kind, FormatKind::Csv | FormatKind::Tsv) && sniffed.compression.is_none() && sniffed.archive.is_none() {
        return Ok(infer::dialect(&file)?);
    }
    let format = serde_json::json!({ "kind": kind, "compression": sniffed.compression, "archive": sniffed.archive });
    serde_json::from_value(format).context("describe the format")
}

fn spec(arguments: &BenchArguments, job: &DecodeJob) -> Result<TableSpec> {
    let stem = arguments.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("file");
    let columns = table_columns(&job.columns);
    let partition_by: Vec<Ident> = arguments.partition_by.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
    for name in &partition_by {
        if !columns.iter().any(|column| column.name == *name) {
            let known: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            bail!("there is no column `{name}` to partition by; the file has `{}`", known.join("`, `"));
        }
    }
    Ok(TableSpec {
        name: TableName { namespace: "bench".parse()?, table: Ident::from_source(stem) },
        columns,
        key: Vec::new(),
        partition_by,
        write: WriteMode::Append,
        on_drift: OnDrift::Quarantine,
        origin: Origin {
            provider: "this machine".to_owned(),
            title: stem.to_owned(),
            citation: arguments.file.display().to_string(),
            landing_page: None,
            licence: Licence { spdx: "LicenseRef-unknown".to_owned(), redistribution: Redistribution::Forbidden },
        },
        description: Some("written by `hambar bench`".to_owned()),
    })
}

struct Measured {
    rows: u64,
    rejected: u64,
    decode: Duration,
    write: Duration,
    commit: Duration,
    total: Duration,
}

async fn ingest(context: &Context, lake: &Lake, spec: &TableSpec, file: &Path, job: DecodeJob) -> Result<Measured> {
    let begin = Instant::now();
    let state = lake.open(spec).await?;
    let now = context.clock.now();
    let stamp = RunStamp { run: RunId(format!("bench-{}", now.as_microsecond())), recorded_at: now };
    let mut writer = lake.writer(spec, &state, stamp).await?;
    let pool = ProcessPool::new(settings()?);
    let path: PathBuf = std::path::absolute(file).with_context(|| format!("resolve `{}`", file.display()))?;
    let mut frames = pool.decode(DecodeTask { path, keep: None, job }).await?;
    let mut measured = Measured {
        rows: 0,
        rejected: 0,
        decode: Duration::ZERO,
        write: Duration::ZERO,
        commit: Duration::ZERO,
        total: Duration::ZERO,
    };
    let mut step = Instant::now();
    while let Some(frame) = frames.next().await {
        measured.decode += step.elapsed();
        step = Instant::now();
        match frame? {
            Decoded::Rows(batch) => {
                measured.rows += batch.num_rows() as u64;
                writer.write(batch, "bench").await?;
            }
            Decoded::Rejected(batch) => measured.rejected += batch.num_rows() as u64,
            Decoded::Done(_) => {}
        }
        measured.write += step.elapsed();
        step = Instant::now();
    }
    let request = CommitRequest { checkpoint: Checkpoint::default(), rows_expected: measured.rows };
    match writer.commit(request).await? {
        CommitOutcome::Committed { .. } => {}
        other => bail!("the commit ended as {other:?}"),
    }
    measured.commit = step.elapsed();
    measured.total = begin.elapsed();
    Ok(measured)
}
