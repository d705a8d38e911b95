//! `add` and `pull`: a new dataset from one address.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use hambar_connect::ckan::{self, PortalDataset, PortalResource};
use hambar_connect::sdmx::Dialects;
use hambar_core::{ErrorClass, Redistribution, TableName};
use hambar_decode::spec::FormatKind;
use hambar_fetch::{Fetcher, Landed, Request};
use hambar_lake::Access;
use hambar_run::Pipeline;
use hambar_run::add::{
    AddRequest, CkanAddress, Conclusion, Survey, SurveyRequest, ckan_address, conclude, dataset_file, datastore,
    file_name, is_readable, pipeline_text, query_of, survey_in_child, table_name, table_named,
};
use hambar_run::decode_pool::ProcessSettings;
use url::Url;

use super::{portal, run};
use crate::args::{AddArguments, AddCommand, PullArguments};
use crate::context::{Context, counted, told};
use crate::errors::Told;

/// Rows of a datastore's table that are looked at.
const DATASTORE_ROWS: u64 = 1_000;

/// What was found at an address.
pub(super) struct Looked {
    pub(super) survey: Survey,
    pub(super) conclusion: Conclusion,
    /// A name and a title for the table, where the address itself has no good one.
    pub(super) stem: Option<String>,
    pub(super) title: Option<String>,
}

/// `hambar add`
pub(crate) async fn add(context: &Context, arguments: &AddArguments) -> Result<()> {
    if let Some(AddCommand::Portal(arguments)) = &arguments.whole {
        return portal::add(context, arguments).await;
    }
    let url = parse(arguments.url.as_deref().unwrap_or_default())?;
    let given: Option<TableName> = arguments.table.as_deref().map(str::parse).transpose()?;
    if let Some(table) = &given {
        free(context, table, arguments.force)?;
    }
    let redistribution = redistribution(arguments.redistribution.as_deref())?;
    let eye = Eye::new(context).await?;
    let looked = eye.look(&url, arguments.member.clone(), arguments.resource.as_deref()).await?;
    let table = match (given, &looked.stem) {
        (Some(table), _) => table,
        (None, Some(stem)) => table_named(&url, stem)?,
        (None, None) => table_name(&url)?,
    };
    let file = free(context, &table, arguments.force)?;
    let licence = match &arguments.licence {
        Some(licence) => Some(licence.clone()),
        None => ask_for_licence()?,
    };
    let title = looked.title.clone();
    let request = AddRequest { url, licence, redistribution, provider: arguments.provider.clone(), title };
    write(&file, &pipeline_text(&request, &looked.survey, &looked.conclusion))?;
    tell(&file, &table, &looked);
    Ok(())
}

/// `hambar pull`
pub(crate) async fn pull(context: &Context, arguments: &PullArguments) -> Result<()> {
    let url = parse(&arguments.url)?;
    let table: TableName = match &arguments.table {
        Some(name) => name.parse()?,
        None => TableName { namespace: "scratch".parse()?, table: table_name(&url)?.table },
    };
    let looked = Eye::new(context).await?.look(&url, arguments.member.clone(), None).await?;
    for warning in &looked.conclusion.warnings {
        eprintln!("warning: {warning}");
    }
    if looked.survey.rows == 0 {
        return empty(&url, &looked.survey);
    }
    let request = AddRequest {
        url,
        // Nobody has read the terms: the values are for this member's eyes only.
        licence: Some("LicenseRef-unknown".to_owned()),
        redistribution: Some(Redistribution::Forbidden),
        provider: None,
        title: looked.title.clone(),
    };
    let folder = tempfile::tempdir().context("make a scratch folder")?;
    let file = folder.path().join(table.namespace.as_str()).join(format!("{}.toml", table.table));
    write(&file, &pipeline_text(&request, &looked.survey, &looked.conclusion))?;
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

/// Says that there is nothing to store: columns whose types nobody can know, and no rows. A release that is still being
/// prepared looks like that.
fn empty(url: &Url, survey: &Survey) -> Result<()> {
    let columns: Vec<String> = survey.columns.iter().map(|column| format!("`{}`", column.name)).collect();
    eprintln!(
        "error: `{url}` has {} ({}) and no rows, class {}; nothing was stored",
        counted(columns.len(), "column"),
        columns.join(", "),
        ErrorClass::Incomplete
    );
    eprintln!(
        "hint: where there will be rows later, `hambar add {url}` makes a pipeline: give its columns their types, then run it"
    );
    Err(Told(ErrorClass::Incomplete).into())
}

/// Says what was concluded and why, and what is left to do.
pub(super) fn tell(file: &Path, table: &TableName, looked: &Looked) {
    let columns = counted(looked.survey.columns.len(), "column");
    println!("wrote `{}`: {columns}, inferred from all {} rows", file.display(), looked.survey.rows);
    for reason in &looked.conclusion.reasons {
        println!("  {reason}");
    }
    let required: Vec<&str> =
        looked.survey.columns.iter().filter(|column| column.required).map(|column| column.name.as_str()).collect();
    let key: Vec<&str> = looked.survey.key.iter().map(|name| name.as_str()).collect();
    match key.is_empty() {
        true => println!("  no first columns are unique together: there is no key"),
        false => println!("  key: {} (unique in this answer)", key.join(", ")),
    }
    if !required.is_empty() {
        println!("  required: {} (part of the key, and never missing)", required.join(", "));
    }
    for warning in &looked.conclusion.warnings {
        println!("  beware: {warning}");
    }
    match Pipeline::load(file) {
        Ok(_) => println!("review it, then: hambar run {table}"),
        Err(problems) => {
            println!("before it can run:");
            for problem in problems {
                println!("  {problem}");
            }
        }
    }
}

/// The file of a new pipeline; an existing one is only overwritten where that was said.
pub(super) fn free(context: &Context, table: &TableName, force: bool) -> Result<PathBuf> {
    let folder = &context.config.pipelines.folder;
    let file = folder.join(table.namespace.as_str()).join(format!("{}.toml", table.table));
    if file.exists() && !force {
        bail!("`{}` exists; name another table with --table, or overwrite it with --force", file.display());
    }
    Ok(file)
}

pub(super) fn redistribution(text: Option<&str>) -> Result<Option<Redistribution>> {
    Ok(match text {
        None => None,
        Some("allowed") => Some(Redistribution::Allowed),
        Some("forbidden") => Some(Redistribution::Forbidden),
        Some(other) => bail!("--redistribution is `allowed` or `forbidden`, not `{other}`"),
    })
}

pub(super) fn parse(text: &str) -> Result<Url> {
    let url = Url::parse(text).with_context(|| format!("`{text}` is not an address; write it with https://"))?;
    if !matches!(url.scheme(), "http" | "https") {
        bail!("`{text}`: only http and https addresses can be read");
    }
    Ok(url)
}

/// What looks at addresses: the way to the network, and the limits of the worker that reads what comes.
pub(super) struct Eye {
    pub(super) fetcher: Fetcher,
    settings: ProcessSettings,
}

impl Eye {
    pub(super) async fn new(context: &Context) -> Result<Self> {
        let lake = context.lake(Access::ReadWrite).await?;
        let transport = context.transport(context.landing(&lake)?)?;
        let settings = ProcessSettings {
            memory_bytes_max: context.config.decode.memory_bytes_max,
            cpu_seconds_max: context.config.decode.cpu_seconds_max,
            ..ProcessSettings::new(crate::context::own_program()?, 1)
        };
        Ok(Self { fetcher: Fetcher::new(transport, Arc::new(Silent)), settings })
    }

    /// Finds out what an address speaks, from it and from one answer.
    async fn look(&self, url: &Url, members: Option<String>, resource: Option<&str>) -> Result<Looked> {
        match ckan_address(url) {
            Some(CkanAddress::Catalogue { portal }) => {
                bail!("`{url}` is a list of datasets; register the portal with: hambar add portal {portal}")
            }
            Some(CkanAddress::Datastore { portal, resource }) => return self.datastore(&portal, &resource).await,
            Some(CkanAddress::Dataset { portal, dataset, resource: named }) => {
                // Only the portal knows whether it is one: other sites have addresses of this form too.
                match ckan::show_dataset(&portal, &dataset, &self.fetcher).await {
                    Ok(dataset) => {
                        let wanted = resource.or(named.as_deref());
                        let chosen = choose(&dataset, wanted)?;
                        return self.resource(&portal, &dataset, chosen, members).await;
                    }
                    Err(error) => tracing::info!(error = %hambar_core::Chain(&error), "no CKAN portal"),
                }
            }
            None => {}
        }
        if resource.is_some() {
            bail!("--resource is for datasets of CKAN portals, and `{url}` is none");
        }
        let (landed, survey) = self.survey(url, members, None).await?;
        let kind = survey.format.kind;
        let is_sdmx = matches!(kind, FormatKind::SdmxCsv | FormatKind::SdmxJson | FormatKind::SdmxMl);
        if let Some(query) = query_of(url, &Dialects::embedded()).filter(|_| is_sdmx) {
            let (conclusion, stem) = (query.conclude(kind), Some(query.table_stem().to_owned()));
            return Ok(Looked { survey, conclusion, stem, title: None });
        }
        let conclusion = conclude(url, &landed.meta.headers, &survey);
        Ok(Looked { survey, conclusion, stem: None, title: None })
    }

    /// Looks at one resource of a dataset: its file, or its table where the portal keeps only that.
    pub(super) async fn resource(
        &self,
        portal: &str,
        dataset: &PortalDataset,
        resource: &PortalResource,
        members: Option<String>,
    ) -> Result<Looked> {
        let is_single = dataset.resources.len() == 1;
        let stem = if is_single || resource.name.is_empty() {
            dataset.name.clone()
        } else {
            format!("{}_{}", dataset.name, resource.name)
        };
        let parts = [dataset.title.as_str(), resource.name.as_str()].into_iter().filter(|text| !text.is_empty());
        let title = Some(parts.collect::<Vec<_>>().join(", ")).filter(|title| !title.is_empty());
        if resource.datastore_active && !is_readable(resource) {
            let looked = self.datastore(portal, &resource.id).await?;
            return Ok(Looked { stem: Some(stem), title, ..looked });
        }
        let url = parse(&resource.url).with_context(|| format!("resource `{}` of `{}`", resource.id, dataset.name))?;
        let (_, survey) = self.survey(&url, members, None).await?;
        Ok(Looked { survey, conclusion: dataset_file(portal, dataset, resource), stem: Some(stem), title })
    }

    async fn datastore(&self, portal: &str, resource: &str) -> Result<Looked> {
        let mut url = parse(&format!("{portal}/api/3/action/datastore_search"))?;
        url.query_pairs_mut()
            .append_pair("resource_id", resource)
            .append_pair("sort", "_id")
            .append_pair("offset", "0")
            .append_pair("limit", &DATASTORE_ROWS.to_string());
        let (_, survey) = self.survey(&url, None, Some("/result/records".to_owned())).await?;
        let stem = format!("t_{}", resource.split('-').next().unwrap_or(resource));
        Ok(Looked { survey, conclusion: datastore(portal, resource), stem: Some(stem), title: None })
    }

    /// Fetches the body once and looks at all of it in a confined worker.
    async fn survey(
        &self,
        url: &Url,
        members: Option<String>,
        record_path: Option<String>,
    ) -> Result<(Landed, Survey)> {
        let mut request = Request::get(url.clone());
        request.resumable = true;
        let landed = self.fetcher.fresh(request).await?;
        let settings = self.settings.clone();
        let request = SurveyRequest { body: landed.path.clone(), file_name: file_name(url), members, record_path };
        let looked = tokio::task::spawn_blocking(move || survey_in_child(&settings, request))
            .await
            .context("look at the body")?;
        let survey = looked.map_err(|what| anyhow::anyhow!(what)).with_context(|| format!("look at `{url}`"))?;
        // The body stays until the worker has read it.
        Ok((landed, survey))
    }
}

/// The resource that is meant; a dataset with several readable ones leaves the choice to a person.
fn choose<'a>(dataset: &'a PortalDataset, wanted: Option<&str>) -> Result<&'a PortalResource> {
    let told = |resources: &[&PortalResource]| {
        let lines = resources.iter().map(|one| format!("\n  {}  {}  {}", one.id, one.format, one.name));
        lines.collect::<String>()
    };
    let all: Vec<&PortalResource> = dataset.resources.iter().collect();
    if let Some(id) = wanted {
        let found = all.iter().find(|resource| resource.id == id).copied();
        return found
            .with_context(|| format!("dataset `{}` has no resource `{id}`; it has:{}", dataset.name, told(&all)));
    }
    let usable: Vec<&PortalResource> =
        all.iter().copied().filter(|resource| is_readable(resource) || resource.datastore_active).collect();
    match usable.as_slice() {
        [only] => Ok(only),
        [] => bail!("dataset `{}` has no resource that can be read; it has:{}", dataset.name, told(&all)),
        several => {
            bail!("dataset `{}` has several resources; choose one with --resource:{}", dataset.name, told(several))
        }
    }
}

/// Nobody watches the few requests of a survey; a failure is told by its error.
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

pub(super) fn write(file: &Path, text: &str) -> Result<()> {
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("make the folder `{}`", parent.display()))?;
    }
    std::fs::write(file, text).with_context(|| format!("write `{}`", file.display()))
}
