//! Files over HTTP: one URL, a URL with variables, or the files of a manifest. One slice for each file.

mod ladder;
mod manifest;
mod spec;

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use hambar_core::{Checkpoint, Clock, Position, SliceId};
use hambar_decode::spec::DecodeJob;
use hambar_fetch::{Fetcher, Request};

use crate::auth::SecretResolver;
use crate::body::{self, blocking};
use crate::client::{Client, failed, into_stream};
use crate::error::ConnectError;
use crate::source::{Estimate, Slice, SliceEvent, Source, SourcePlan};
use crate::template::{Escape, Template, combinations};

pub(crate) use ladder::{FileReader, FileRules};
pub(crate) use manifest::FileEntry;
pub(crate) use spec::template_problems;
pub use spec::{Entries, HttpFileSpec, ManifestFormat, ManifestSpec, Missing, Probe};

use manifest::Manifest;

/// Reads files over HTTP.
#[derive(Debug)]
pub(crate) struct HttpFileSource {
    client: Client,
    rules: FileRules,
    job: DecodeJob,
    files: Files,
}

#[derive(Debug)]
enum Files {
    Listed(Vec<FileEntry>),
    Manifest(Arc<Manifest>),
}

impl HttpFileSource {
    /// Builds the source; the spec has been validated.
    pub(crate) fn new(
        spec: HttpFileSpec,
        secrets: &dyn SecretResolver,
        job: DecodeJob,
        clock: &dyn Clock,
    ) -> Result<Self, ConnectError> {
        let setting = |(setting, what)| ConnectError::Setting { setting, what };
        let files = match (spec.url, spec.manifest) {
            (Some(url), None) => {
                let url_setting = |what| setting(("url".to_owned(), what));
                let template = Template::parse(&url).map_err(url_setting)?;
                let rows = combinations(&spec.variables, clock.now())
                    .map_err(|(name, what)| setting((format!("variables.{name}"), what)))?;
                let mut entries = Vec::with_capacity(rows.len());
                for constants in rows {
                    let filled = template
                        .fill(&constants, Escape::Url)
                        .map_err(|name| url_setting(format!("`{{{name}}}` has no values")))?;
                    let url = body::web_url(&filled).map_err(url_setting)?.to_string();
                    entries.push(FileEntry { url, constants, ..FileEntry::default() });
                }
                Files::Listed(entries)
            }
            (None, Some(manifest)) => Files::Manifest(Arc::new(Manifest::new(manifest).map_err(setting)?)),
            (Some(_), Some(_)) | (None, None) => {
                return Err(setting(("url".to_owned(), "give either `url` or `[source.manifest]`".to_owned())));
            }
        };
        let rules = FileRules {
            probe: spec.probe,
            missing: spec.missing,
            ignore_content_type: spec.ignore_content_type,
            body_bytes_max: spec.body_bytes_max,
        };
        Ok(Self { client: Client::new(spec.headers, spec.auth, secrets)?, rules, job, files })
    }

    async fn manifest_entries(
        &self,
        manifest: &Arc<Manifest>,
        fetch: &Fetcher,
    ) -> Result<Vec<FileEntry>, ConnectError> {
        let url = body::web_url(&manifest.spec.url)
            .map_err(|what| ConnectError::Setting { setting: "manifest.url".to_owned(), what })?;
        let mut request = Request::get(url);
        request.body_bytes_max = Some(manifest.spec.bytes_max);
        request.resumable = true;
        let landed = self.client.fresh(fetch, request).await?;
        let (path, manifest) = (landed.path.clone(), manifest.clone());
        let entries = blocking(&landed, move || Ok(manifest.read(std::fs::File::open(path)?))).await?;
        let protocol = |what| ConnectError::Protocol { url: landed.meta.url.clone(), what };
        let entries = entries.map_err(|what| protocol(format!("manifest, {what}")))?;
        if entries.is_empty() {
            return Err(protocol("the manifest lists no file that matches".to_owned()));
        }
        Ok(entries)
    }
}

#[async_trait]
impl Source for HttpFileSource {
    async fn plan(&self, done: &Checkpoint, fetch: &Fetcher) -> Result<SourcePlan, ConnectError> {
        match &self.files {
            Files::Listed(entries) => Ok(plan_files(entries.clone(), done, Entries::Revised)),
            Files::Manifest(manifest) => {
                let entries = self.manifest_entries(manifest, fetch).await?;
                Ok(plan_files(entries, done, manifest.spec.entries))
            }
        }
    }

    fn read(&self, slice: Slice, fetch: Fetcher) -> BoxStream<'static, Result<SliceEvent, ConnectError>> {
        read_file(&self.client, &self.rules, &self.job, slice, fetch)
    }
}

/// Makes one slice of each file.
pub(crate) fn plan_files(files: Vec<FileEntry>, done: &Checkpoint, entries: Entries) -> SourcePlan {
    let mut plan = SourcePlan { is_full_extract: entries == Entries::Revised, ..SourcePlan::default() };
    let mut bytes = Some(0_u64);
    let mut rows = Some(0_u64);
    for file in files {
        let id = SliceId(file.url.clone());
        let from = done.slice(&id);
        if entries == Entries::Final && from.position == Position::End {
            continue;
        }
        let seen = from.seen.as_ref().filter(|seen| !seen.sha256.is_empty());
        let length = file.size.or(seen.map(|seen| seen.length));
        bytes = bytes.zip(length).map(|(sum, length)| sum.saturating_add(length));
        rows = rows.zip(seen).map(|(sum, seen)| sum.saturating_add(seen.rows));
        let detail = serde_json::to_string(&file).expect("a file entry has only texts and numbers");
        plan.slices.push(Slice { id, from, detail });
    }
    plan.estimate = Estimate { requests: Some(plan.slices.len() as u64), bytes, rows };
    plan
}

/// Reads the file of a slice that [`plan_files`] made.
pub(crate) fn read_file(
    client: &Client,
    rules: &FileRules,
    job: &DecodeJob,
    slice: Slice,
    fetch: Fetcher,
) -> BoxStream<'static, Result<SliceEvent, ConnectError>> {
    let reader = serde_json::from_str(&slice.detail)
        .map_err(|error| ConnectError::Protocol { url: slice.id.to_string(), what: format!("slice detail: {error}") })
        .and_then(|entry| FileReader::new(client.clone(), fetch, rules.clone(), job.clone(), entry, slice.from));
    match reader {
        Ok(reader) => into_stream(reader),
        Err(error) => failed(error),
    }
}
