//! `add portal`: a CKAN portal's datasets and resources as a list, a pipeline for its catalogue, and pipelines for
//! chosen resources.

use anyhow::{Context as _, Result, bail};
use hambar_connect::ckan::{self, PortalDataset, PortalResource};
use hambar_core::TableName;
use hambar_run::add::{AddRequest, ckan_listing, is_readable, pipeline_text, table_named};
use url::Url;

use super::add::{Eye, free, parse, redistribution, tell, write};
use crate::args::PortalArguments;
use crate::context::{Context, counted};
use crate::errors::Told;

/// Resources that are shown; the catalogue's table holds all datasets.
const SHOWN_MAX: usize = 200;

/// `hambar add portal`
pub(super) async fn add(context: &Context, arguments: &PortalArguments) -> Result<()> {
    let url = parse(&arguments.url)?;
    let portal = url.as_str().trim_end_matches('/');
    let redistribution = redistribution(arguments.redistribution.as_deref())?;
    let eye = Eye::new(context).await?;
    let datasets = ckan::list_datasets(portal, arguments.filter.as_deref(), &eye.fetcher).await?;
    let listed = listed(&datasets, arguments.format.as_deref());
    show(&datasets, &listed);
    let chosen = chosen(&listed, arguments)?;
    let catalogue = table(&url, arguments, "datasets")?;
    let text = ckan_listing(portal, arguments.filter.as_deref(), datasets.len(), arguments.licence.as_deref());
    let file = free(context, &catalogue, arguments.force)?;
    write(&file, &text)?;
    println!("wrote `{}`: the catalogue as a table, {}", file.display(), counted(datasets.len(), "dataset"));
    let mut first_failure = None;
    for (dataset, resource) in chosen {
        let request = AddRequest {
            url: parse(&resource.url).unwrap_or_else(|_| url.clone()),
            licence: arguments.licence.clone(),
            redistribution,
            provider: Some(url.host_str().unwrap_or_default().to_owned()),
            title: None,
        };
        // One bad file does not keep the others from being registered.
        if let Err(error) = one(context, &eye, (portal, &url), (dataset, resource), arguments, request).await {
            eprintln!("error: resource `{}` of `{}`: {error:#}", resource.id, dataset.name);
            first_failure = first_failure.or(Some(crate::errors::class(&error)));
        }
    }
    match first_failure {
        None => Ok(()),
        Some(class) => Err(Told(class).into()),
    }
}

async fn one(
    context: &Context,
    eye: &Eye,
    (portal, url): (&str, &Url),
    (dataset, resource): (&PortalDataset, &PortalResource),
    arguments: &PortalArguments,
    request: AddRequest,
) -> Result<()> {
    let looked = eye.resource(portal, dataset, resource, None).await?;
    let stem = looked.stem.clone().unwrap_or_else(|| dataset.name.clone());
    let mut name = table(url, arguments, &stem)?;
    if name.table.as_str() == "datasets" {
        // That is the catalogue's.
        name = table(url, arguments, &format!("datasets_{}", resource.id))?;
    }
    let file = free(context, &name, arguments.force)?;
    let request = AddRequest { title: looked.title.clone(), ..request };
    write(&file, &pipeline_text(&request, &looked.survey, &looked.conclusion))?;
    tell(&file, &name, &looked);
    Ok(())
}

fn table(url: &Url, arguments: &PortalArguments, stem: &str) -> Result<TableName> {
    let mut name = table_named(url, stem)?;
    if let Some(namespace) = &arguments.namespace {
        name.namespace = namespace.parse().with_context(|| format!("--namespace `{namespace}`"))?;
    }
    Ok(name)
}

type Listed<'a> = Vec<(&'a PortalDataset, &'a PortalResource)>;

fn listed<'a>(datasets: &'a [PortalDataset], format: Option<&str>) -> Listed<'a> {
    let all = datasets.iter().flat_map(|dataset| dataset.resources.iter().map(move |resource| (dataset, resource)));
    all.filter(|(_, resource)| format.is_none_or(|format| resource.format.eq_ignore_ascii_case(format))).collect()
}

fn show(datasets: &[PortalDataset], listed: &Listed<'_>) {
    println!("{}, {} listed:", counted(datasets.len(), "dataset"), counted(listed.len(), "resource"));
    for (dataset, resource) in listed.iter().take(SHOWN_MAX) {
        let format = if resource.format.is_empty() { "?" } else { resource.format.as_str() };
        let kind = match (resource.datastore_active, is_readable(resource)) {
            (true, _) => "datastore",
            (false, true) => "file",
            (false, false) => "-",
        };
        let licence = if dataset.license_id.is_empty() { "?" } else { dataset.license_id.as_str() };
        println!("  {}  {format:<8}{kind:<10}{licence:<14}{}  {}", resource.id, dataset.name, resource.name);
    }
    if listed.len() > SHOWN_MAX {
        println!("  and {} more; narrow the list with --filter and --format", listed.len() - SHOWN_MAX);
    }
}

/// The resources that pipelines are to be written for.
fn chosen<'a>(listed: &Listed<'a>, arguments: &PortalArguments) -> Result<Listed<'a>> {
    for id in &arguments.resource {
        if !listed.iter().any(|(_, resource)| resource.id == *id) {
            bail!("the portal lists no resource `{id}`");
        }
    }
    for name in &arguments.dataset {
        if !listed.iter().any(|(dataset, _)| dataset.name == *name || dataset.id == *name) {
            bail!("the portal lists no dataset `{name}` with a resource");
        }
    }
    let is_usable = |resource: &PortalResource| is_readable(resource) || resource.datastore_active;
    let is_chosen = |dataset: &PortalDataset, resource: &PortalResource| {
        let is_of_dataset = arguments.dataset.contains(&dataset.name) || arguments.dataset.contains(&dataset.id);
        arguments.resource.contains(&resource.id) || ((arguments.all || is_of_dataset) && is_usable(resource))
    };
    Ok(listed.iter().copied().filter(|(dataset, resource)| is_chosen(dataset, resource)).collect())
}
