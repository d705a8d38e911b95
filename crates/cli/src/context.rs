//! What every command needs: settings, secrets, the clock, and the ways to the store and the network.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use hambar_core::{Clock, TableName};
use hambar_fetch::{Landing, Transport};
use hambar_lake::{Access, Lake};
use hambar_query::QueryLimits;
use hambar_run::{Pipeline, Problem};
use jiff::Timestamp;
use tracing_subscriber::EnvFilter;

use crate::args::{Arguments, Command};
use crate::config::{Config, Layers, LogFormat, SecretReader};
use crate::errors::Told;

/// The settings file that is read when none is named.
const SETTINGS_FILE: &str = "hambar.toml";

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) layers: Layers,
    pub(crate) secrets: SecretReader,
    pub(crate) clock: Arc<dyn Clock>,
    /// Set in crash tests: the name of the step at which the process kills itself.
    pub(crate) fault_point: Option<String>,
    pub(crate) home: Option<PathBuf>,
    /// The settings file, where one was named.
    pub(crate) settings_file: Option<PathBuf>,
}

/// The system's clock.
#[derive(Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the composition root is where the clock is read")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

impl Context {
    pub(crate) fn new(arguments: &Arguments, environment: BTreeMap<String, String>) -> Result<Self> {
        let mut layers = Layers::merge(settings_file(arguments.config.as_deref())?, &environment)?;
        if let Some(url) = &arguments.store {
            layers.set_from_command_line("store.url", toml::Value::String(url.clone()), "--store");
        }
        if let Some(folder) = &arguments.pipelines {
            let folder = toml::Value::String(folder.display().to_string());
            layers.set_from_command_line("pipelines.folder", folder, "--pipelines");
        }
        let level = match arguments.verbose {
            0 => None,
            1 => Some("info"),
            2 => Some("debug"),
            _ => Some("trace"),
        };
        // Who asked for what is written down by a server unless the settings say otherwise.
        let is_server = match &arguments.command {
            Command::Serve(_) => true,
            Command::Schedule(arguments) => !arguments.list,
            _ => false,
        };
        let is_server = is_server && layers.is_default("log.level");
        if let Some(level) = level.or(is_server.then_some("info")) {
            layers.set_from_command_line("log.level", toml::Value::String(level.to_owned()), "-v");
        }
        let config = Config::from_layers(&layers)?;
        start_log(&config)?;
        let fault_point = environment.get("HAMBAR_FAULT_POINT").cloned();
        let home = environment.get("HOME").map(PathBuf::from);
        Ok(Self {
            config,
            layers,
            secrets: SecretReader::new(environment),
            clock: Arc::new(SystemClock),
            fault_point,
            home,
            settings_file: arguments.config.clone(),
        })
    }

    /// The same settings with another store, for the demo and measurements.
    pub(crate) fn with_store(&self, url: &str) -> Self {
        let mut config = self.config.clone();
        url.clone_into(&mut config.store.url);
        config.store.options.clear();
        Self {
            config,
            layers: self.layers.clone(),
            secrets: self.secrets.clone(),
            clock: Arc::clone(&self.clock),
            fault_point: self.fault_point.clone(),
            home: self.home.clone(),
            settings_file: self.settings_file.clone(),
        }
    }

    /// The settings for the demo in `folder`: its own store and pipelines, and requests to this machine.
    pub(crate) fn for_demo(&self, folder: &Path) -> Result<Self> {
        let mut demo = self.with_store(&folder.join("store").display().to_string());
        demo.config.pipelines.folder = folder.join("pipelines");
        demo.config.fetch.contact = "demo@example.org".to_owned();
        demo.config.fetch.allow_hosts = hambar_fetch::AllowHosts::parse(["127.0.0.1"])?;
        // The provider is ours, so politeness would only slow the demo down.
        demo.config.fetch.every_host.requests = 1_000;
        Ok(demo)
    }

    pub(crate) async fn lake(&self, access: Access) -> Result<Lake> {
        let options = self.config.store_options(&self.secrets)?;
        let url = &self.config.store.url;
        let lake = Lake::open(url, &options, access, Arc::clone(&self.clock)).await;
        lake.with_context(|| format!("open the store `{url}`"))
    }

    /// The landing zone of `lake`, with the folder for what is on its way.
    pub(crate) fn landing(&self, lake: &Lake) -> Result<Landing> {
        let spool = self.spool_folder(lake)?;
        Ok(Landing::new(lake.object_store(), lake.local_root().map(Path::to_path_buf), spool))
    }

    /// The whole transport stack over `landing`.
    pub(crate) fn transport(&self, landing: Landing) -> Result<Arc<dyn Transport>> {
        Ok(hambar_fetch::stack(&self.config.fetch, landing, Arc::clone(&self.clock))?)
    }

    /// A folder for partial downloads: inside a local store, so that a download survives the process and finished
    /// bytes can be moved into place; else in the user's cache.
    pub(crate) fn spool_folder(&self, lake: &Lake) -> Result<PathBuf> {
        let folder = match lake.local_root() {
            Some(root) => root.join("spool"),
            None => self.home.clone().unwrap_or_else(|| PathBuf::from(".")).join(".cache/hambar/spool"),
        };
        std::fs::create_dir_all(&folder).with_context(|| format!("make the folder `{}`", folder.display()))?;
        Ok(folder)
    }

    pub(crate) fn query_limits(&self) -> QueryLimits {
        let settings = &self.config.query;
        let mut limits = QueryLimits {
            memory_bytes_max: settings.memory_bytes_max,
            spill_bytes_max: settings.spill_bytes_max,
            plan_time_max: std::time::Duration::from_secs(settings.plan_seconds_max),
            run_time_max: std::time::Duration::from_secs(settings.run_seconds_max),
            ..QueryLimits::default()
        };
        if settings.threads > 0 {
            limits.partitions = settings.threads;
        }
        limits
    }

    /// Loads the pipelines that `names` select (`namespace.table` or `namespace`), or all.
    pub(crate) fn pipelines(&self, names: &[String], is_all: bool) -> Result<Vec<Pipeline>> {
        let folder = &self.config.pipelines.folder;
        if is_all {
            return Pipeline::load_all(folder).map_err(|problems| told(&problems));
        }
        let mut found = Vec::new();
        let mut problems = Vec::new();
        for file in self.pipeline_files(names)? {
            match Pipeline::load(&file) {
                Ok(pipeline) => found.push(pipeline),
                Err(more) => problems.extend(more),
            }
        }
        if problems.is_empty() { Ok(found) } else { Err(told(&problems)) }
    }

    /// The files that `names` stand for: a path, a table or a namespace.
    pub(crate) fn pipeline_files(&self, names: &[String]) -> Result<Vec<PathBuf>> {
        let folder = &self.config.pipelines.folder;
        let mut files = Vec::new();
        for name in names {
            if Path::new(name).extension().is_some_and(|extension| extension == "toml") {
                files.push(PathBuf::from(name));
                continue;
            }
            if let Ok(table) = name.parse::<TableName>() {
                let file = folder.join(table.namespace.as_str()).join(format!("{}.toml", table.table));
                if !file.is_file() {
                    bail!("there is no pipeline `{name}`: `{}` does not exist", file.display());
                }
                files.push(file);
                continue;
            }
            let entries = std::fs::read_dir(folder.join(name))
                .with_context(|| format!("there is no namespace `{name}` in `{}`", folder.display()))?;
            let mut inside: Vec<PathBuf> = entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
                .collect();
            inside.sort();
            files.extend(inside);
        }
        Ok(files)
    }
}

/// This program, to start workers from. On Linux it is the running image itself: a worker is then of the same build even
/// where the file was replaced since, as an upgrade does.
pub(crate) fn own_program() -> Result<PathBuf> {
    let image = Path::new("/proc/self/exe");
    if image.exists() {
        return Ok(image.to_path_buf());
    }
    std::env::current_exe().context("find this program's own file, to start workers")
}

/// Prints the problems of pipeline files and returns the error that ends the command.
pub(crate) fn told(problems: &[Problem]) -> anyhow::Error {
    let mut text = String::new();
    for problem in problems {
        text.push_str(&format!("{problem}\n"));
    }
    let files: std::collections::BTreeSet<_> = problems.iter().map(|problem| &problem.file).collect();
    text.push_str(&format!("{} in {}", counted(problems.len(), "problem"), counted(files.len(), "file")));
    eprintln!("{text}");
    Told(hambar_core::ErrorClass::Config).into()
}

/// `1 file`, `2 files`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn settings_file(named: Option<&Path>) -> Result<Option<(PathBuf, String)>> {
    let path = named.unwrap_or(Path::new(SETTINGS_FILE));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some((path.to_path_buf(), text))),
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read the settings file `{}`", path.display())),
    }
}

fn start_log(config: &Config) -> Result<()> {
    let filter = EnvFilter::try_new(format!("{0},hyper=warn,h2=warn,rustls=warn,reqwest=warn", config.log.level))
        .with_context(|| format!("`log.level` is `{}`: use error, warn, info, debug or trace", config.log.level))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // Colours are for people, not for files that a log goes to.
    let builder = builder.with_ansi(std::io::stderr().is_terminal());
    let started = match config.log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("start the log: {error}"))
}
