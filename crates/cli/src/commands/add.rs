//! `add` and `pull`: a new dataset from one address.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use hambar_core::{Redistribution, TableName};
use hambar_fetch::{Fetcher, Request};
use hambar_lake::Access;
use hambar_run::Pipeline;
use hambar_run::add::{AddRequest, Survey, SurveyRequest, file_name, pipeline_text, survey_in_child, table_name};
use hambar_run::decode_pool::ProcessSettings;
use url::Url;

use super::run;
use crate::args::{AddArguments, PullArguments};
use crate::context::{Context, counted, told};
use crate::errors::Told;

/// `hambar add`
pub(crate) async fn add(context: &Context, arguments: &AddArguments) -> Result<()> {
    let url = parse(&arguments.url)?;
    let table: TableName = match &arguments.table {
        Some(name) => name.parse()?,
        None => table_name(&url)?,
    };
    let folder = &context.config.pipelines.folder;
    let file = folder.join(table.namespace.as_str()).join(format!("{}.toml", table.table));
    if file.exists() && !arguments.force {
        bail!("`{}` exists; name another table with --table, or overwrite it with --force", file.display());
    }
    let redistribution = match arguments.redistribution.as_deref() {
        None => None,
        Some("allowed") => Some(Redistribution::Allowed),
        Some("forbidden") => Some(Redistribution::Forbidden),
        Some(other) => bail!("--redistribution is `allowed` or `forbidden`, not `{other}`"),
    };
    let survey = survey(context, &url, arguments.member.clone()).await?;
    let licence = match &arguments.licence {
        Some(licence) => Some(licence.clone()),
        None => ask_for_licence()?,
    };
    let request = AddRequest { url, licence, redistribution, provider: arguments.provider.clone() };
    write(&file, &pipeline_text(&request, &survey))?;
    let columns = counted(survey.columns.len(), "column");
    println!("wrote `{}`: {columns}, inferred from all {} rows", file.display(), survey.rows);
    match Pipeline::load(&file) {
        Ok(_) => println!("review it, then: hambar run {table}"),
        Err(problems) => {
            println!("before it can run:");
            for problem in problems {
                println!("  {problem}");
            }
        }
    }
    Ok(())
}

/// `hambar pull`
pub(crate) async fn pull(context: &Context, arguments: &PullArguments) -> Result<()> {
    let url = parse(&arguments.url)?;
    let table: TableName = match &arguments.table {
        Some(name) => name.parse()?,
        None => TableName { namespace: "scratch".parse()?, table: table_name(&url)?.table },
    };
    let survey = survey(context, &url, arguments.member.clone()).await?;
    let request = AddRequest {
        url,
        // Nobody has read the terms: the values are for this member's eyes only.
        licence: Some("LicenseRef-unknown".to_owned()),
        redistribution: Some(Redistribution::Forbidden),
        provider: None,
    };
    let folder = tempfile::tempdir().context("make a scratch folder")?;
    let file = folder.path().join(table.namespace.as_str()).join(format!("{}.toml", table.table));
    write(&file, &pipeline_text(&request, &survey))?;
    let mut pipeline = Pipeline::load(&file).map_err(|problems| told(&problems))?;
    run::adjust(context, &mut pipeline);
    let (runner, _) = run::runner(context).await?;
    let report = runner.run(&pipeline, &run::cancel_on_signal()).await;
    run::tell(&report);
    match report.outcome.class() {
        None => {
            println!("ask: hambar sql \"SELECT * FROM {table} LIMIT 10\"");
            Ok(())
        }
        Some(class) => Err(Told(class).into()),
    }
}

fn parse(text: &str) -> Result<Url> {
    let url = Url::parse(text).with_context(|| format!("`{text}` is not an address; write it with https://"))?;
    if !matches!(url.scheme(), "http" | "https") {
        bail!("`{text}`: only http and https addresses can be read");
    }
    Ok(url)
}

/// Fetches the body once and looks at all of it in a confined worker.
async fn survey(context: &Context, url: &Url, members: Option<String>) -> Result<Survey> {
    let lake = context.lake(Access::ReadWrite).await?;
    let transport = context.transport(context.landing(&lake)?)?;
    let fetcher = Fetcher::new(transport, Arc::new(Silent));
    let mut request = Request::get(url.clone());
    request.resumable = true;
    let landed = fetcher.fresh(request).await?;
    let program = crate::context::own_program()?;
    let settings = ProcessSettings {
        memory_bytes_max: context.config.decode.memory_bytes_max,
        cpu_seconds_max: context.config.decode.cpu_seconds_max,
        ..ProcessSettings::new(program, 1)
    };
    let request = SurveyRequest { body: landed.path.clone(), file_name: file_name(url), members };
    let looked =
        tokio::task::spawn_blocking(move || survey_in_child(&settings, request)).await.context("look at the body")?;
    // The body stays until the worker has read it.
    drop(landed);
    looked.map_err(|what| anyhow::anyhow!(what)).with_context(|| format!("look at `{url}`"))
}

/// Nobody watches the one request of a survey; its failure is told by the error.
#[derive(Debug)]
struct Silent;

impl hambar_fetch::ExchangeSink for Silent {
    fn record(&self, _exchange: hambar_fetch::FetchMeta) {}
    fn progress(&self, _bytes: u64) {}
    fn waiting(&self, _reason: Option<&str>) {}
}

/// Asks on a terminal; elsewhere the file is written without a licence, and `hambar check` says so.
fn ask_for_licence() -> Result<Option<String>> {
    if !std::io::stdin().is_terminal() {
        return Ok(None);
    }
    print!("licence of the data (SPDX id such as CC-BY-4.0, or LicenseRef-…; empty to fill in later): ");
    std::io::stdout().flush().context("ask for the licence")?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("read the licence")?;
    let licence = line.trim();
    Ok((!licence.is_empty()).then(|| licence.to_owned()))
}

fn write(file: &PathBuf, text: &str) -> Result<()> {
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("make the folder `{}`", parent.display()))?;
    }
    std::fs::write(file, text).with_context(|| format!("write `{}`", file.display()))
}
