//! The command line: what can be said, and the help that teaches it.

pub(crate) mod members;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::output::Format;
use members::MembersArguments;

/// Collects the world's open data politely and completely, keeps every value that was ever published, and answers SQL.
///
/// Datasets are declared in files: `pipelines/<namespace>/<table>.toml`. `hambar run` fetches, checks and commits them
/// to Delta Lake tables in the store; `hambar sql` queries them, at any past instant too.
#[derive(Debug, Parser)]
#[command(name = "hambar", version, propagate_version = true, after_help = FIRST_STEPS)]
pub(crate) struct Arguments {
    /// The settings file; `hambar.toml` in the working folder when absent.
    #[arg(long, global = true, value_name = "FILE", env = "HAMBAR_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The store: a folder or `s3://bucket/prefix`; overrides `store.url`.
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// The folder of pipeline files; overrides `pipelines.folder`.
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) pipelines: Option<PathBuf>,
    /// Say more: info, then debug, then trace.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Bytes of private memory that this process may have (set by the scheduler).
    #[arg(long, global = true, hide = true, value_name = "BYTES")]
    pub(crate) memory_bytes_max: Option<u64>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const FIRST_STEPS: &str = "\
First steps:
  hambar demo                         collect from a built-in provider and query, without a network
  hambar add https://…/data.csv       look at a file and write a pipeline for it
  hambar check                        check every pipeline file
  hambar run worldbank.gdp_per_capita fetch, prove complete, commit
  hambar sql \"SELECT …\"               ask
  hambar sql                          ask in a shell, with completion and history

Every command explains itself with --help. Exit codes: docs/exit-codes.md.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what Hambar does on a built-in provider: collect, re-check, revise, query. Needs no network.
    Demo(DemoArguments),
    /// Check pipeline files and report every problem with file, line, column and remedy.
    Check(CheckArguments),
    /// Look at one real answer and write a pipeline file for it, for a person to review.
    Add(Box<AddArguments>),
    /// Say what a run would ask of the provider before anything is sent: requests, bytes, quota, time.
    Plan(SelectArguments),
    /// Run pipelines: fetch, land, decode, conform, prove complete, commit.
    Run(RunArguments),
    /// Fetch one URL into a table on the spot, without keeping a pipeline file.
    Pull(PullArguments),
    /// Derive a table's newest release again from its raw bytes, without the network.
    Replay(SelectArguments),
    /// Derive a table with its whole history from raw bytes and compare the content fingerprint.
    Rebuild(SelectArguments),
    /// Query with SQL; without a statement, a shell.
    Sql(SqlArguments),
    /// List the tables with rows, freshness and licence.
    Tables(ListArguments),
    /// Describe a table: columns, units, origin, licence, freshness, versions.
    Describe(TableArguments),
    /// List a table's versions: when, by which run, how many rows came, changed and went.
    History(TableArguments),
    /// List runs, the newest first.
    Runs(RunsArguments),
    /// Cite a version of a table: print its citation, and keep the version readable for good.
    Cite(CiteArguments),
    /// Serve SQL and tables over HTTP, to members with tokens and, where allowed, to everybody.
    Serve(ServeArguments),
    /// Run pipelines when they are due, and look after tables, until told to stop.
    Schedule(ScheduleArguments),
    /// Administer who may ask: organisations and their tokens.
    Members(MembersArguments),
    /// Rewrite small files of tables into sorted large ones; content fingerprints are compared before and after.
    Optimize(MaintainArguments),
    /// Remove what no version within retention, no citation, no replay and no rebuild needs: files, superseded rows, raw bytes.
    Vacuum(VacuumArguments),
    /// Check log, files, hashes and fingerprints, and say what was found.
    Fsck(MaintainArguments),
    /// Show the settings in force and where each came from.
    Config(ListArguments),
    /// Print the JSON Schema of pipeline files, for editors.
    Schema,
    /// Measure ingestion on this machine with your own file.
    Bench(BenchArguments),
    /// Decode untrusted bytes under limits (started by `hambar run`).
    #[command(hide = true)]
    DecodeWorker,
    /// Look at untrusted bytes under limits (started by `hambar add`).
    #[command(hide = true)]
    SurveyWorker,
    /// Plan and run one query under limits (started by `hambar sql`).
    #[command(hide = true)]
    QueryWorker,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Where the demo keeps its store and pipeline files; `hambar-demo` in the working folder when absent.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
    /// Only start the built-in provider and keep it running.
    #[arg(long)]
    pub(crate) serve: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// Files or tables to check; all when absent.
    #[arg(value_name = "FILE|TABLE")]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "What the address speaks is found out from it and from one answer: paged JSON or CSV, an SDMX data query, a CKAN dataset or datastore table, else a file. What was concluded and why is printed and stands in the file.\n\nExamples:\n  hambar add https://example.org/data.csv --table regions.population\n  hambar add https://example.org/data.zip --member '*.csv' --licence CC-BY-4.0 --redistribution allowed\n  hambar add https://data-api.ecb.europa.eu/service/data/EXR/M.USD.EUR.SP00.A\n  hambar add https://data.example.org/dataset/rainfall --resource 5de110e5-6ef9\n  hambar add portal https://data.example.org --filter organization:who --format csv"
)]
pub(crate) struct AddArguments {
    #[command(subcommand)]
    pub(crate) whole: Option<AddCommand>,
    /// The address of the data.
    #[arg(required = true)]
    pub(crate) url: Option<String>,
    /// The table's name, `namespace.table`; made from the address when absent.
    #[arg(long, value_name = "NAMESPACE.TABLE")]
    pub(crate) table: Option<String>,
    /// The licence as SPDX id or `LicenseRef-…`; asked for on a terminal, never guessed.
    #[arg(long, value_name = "SPDX")]
    pub(crate) licence: Option<String>,
    /// Whether the values may be passed on: `allowed` or `forbidden`.
    #[arg(long, value_name = "allowed|forbidden")]
    pub(crate) redistribution: Option<String>,
    /// The publishing institution.
    #[arg(long)]
    pub(crate) provider: Option<String>,
    /// In an archive: the members to read, as a glob.
    #[arg(long, value_name = "GLOB")]
    pub(crate) member: Option<String>,
    /// Of a CKAN dataset with several resources: the id of the one to read.
    #[arg(long, value_name = "ID")]
    pub(crate) resource: Option<String>,
    /// Overwrite an existing pipeline file.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AddCommand {
    /// List a CKAN portal's datasets and resources, write a pipeline for its catalogue, and pipelines for chosen
    /// resources.
    Portal(PortalArguments),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Without --resource, --dataset and --all nothing is written but the catalogue's pipeline `<namespace>.datasets`.\n\nExamples:\n  hambar add portal https://data.example.org\n  hambar add portal https://data.example.org --filter organization:who --format csv --all\n  hambar add portal https://data.example.org --dataset rainfall --licence CC-BY-4.0"
)]
pub(crate) struct PortalArguments {
    /// The portal's address.
    pub(crate) url: String,
    /// Only datasets that fit this, in Solr syntax (`organization:who`).
    #[arg(long, value_name = "FILTER")]
    pub(crate) filter: Option<String>,
    /// Only resources of this format, as the portal spells it.
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Write a pipeline for this resource; may be repeated.
    #[arg(long, value_name = "ID")]
    pub(crate) resource: Vec<String>,
    /// Write pipelines for the readable resources of this dataset; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub(crate) dataset: Vec<String>,
    /// Write pipelines for all readable resources that are listed.
    #[arg(long)]
    pub(crate) all: bool,
    /// The namespace of the tables; made from the address when absent.
    #[arg(long)]
    pub(crate) namespace: Option<String>,
    /// The licence of what is written, as SPDX id or `LicenseRef-…`; never guessed from the portal's words.
    #[arg(long, value_name = "SPDX")]
    pub(crate) licence: Option<String>,
    /// Whether the values may be passed on: `allowed` or `forbidden`.
    #[arg(long, value_name = "allowed|forbidden")]
    pub(crate) redistribution: Option<String>,
    /// Overwrite existing pipeline files.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SelectArguments {
    /// Tables, `namespace.table` or `namespace`.
    #[arg(value_name = "TABLE", required_unless_present = "all")]
    pub(crate) names: Vec<String>,
    /// All pipelines.
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A run that finds nothing new costs one request and writes no version. Press Ctrl-C once to stop: \
nothing partial is published. `hambar runs` lists what happened."
)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) select: SelectArguments,
    /// Read everything again although nothing seems to have changed.
    #[arg(long)]
    pub(crate) full: bool,
    /// Run one pipeline under this id, and report in one line of JSON (set by the scheduler).
    #[arg(long, hide = true, value_name = "RUN", conflicts_with_all = ["full", "all"])]
    pub(crate) supervised: Option<String>,
    /// Stop in good order after so long (set by the scheduler).
    #[arg(long, hide = true, value_name = "SECONDS", requires = "supervised")]
    pub(crate) seconds_max: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct PullArguments {
    /// The address of the data.
    pub(crate) url: String,
    /// The table's name; `scratch.<name>` from the address when absent.
    #[arg(long, value_name = "NAMESPACE.TABLE")]
    pub(crate) table: Option<String>,
    /// In an archive: the members to read, as a glob.
    #[arg(long, value_name = "GLOB")]
    pub(crate) member: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Time travel:\n  SELECT * FROM ns.t FOR SYSTEM_TIME AS OF '2026-01-31'\n  SELECT * FROM as_of('ns.t', '2026-01-31T12:00:00Z')\n  SELECT * FROM revisions('ns.t')\n  SELECT * FROM ns.t VERSION AS OF 3\n\nIn the shell: \\d lists tables, \\d TABLE describes one, \\q leaves, Ctrl-C cancels the query."
)]
pub(crate) struct SqlArguments {
    /// The statement; a shell is opened when it is absent, `-` reads it from standard input.
    pub(crate) statement: Option<String>,
    /// Form of the result.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// Write to this file instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Memory of the query in MiB; overrides `query.memory_bytes_max`.
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<u64>,
    /// Deadline in seconds; overrides `query.run_seconds_max`.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Form of the list.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct TableArguments {
    /// The table, `namespace.table`.
    pub(crate) table: String,
    /// Form of the list.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct RunsArguments {
    /// Only this table's runs.
    pub(crate) table: Option<String>,
    /// How many.
    #[arg(short = 'n', long, default_value_t = 20)]
    pub(crate) limit: u32,
    /// Form of the list.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hambar cite worldbank.gdp_per_capita\n  hambar cite worldbank.gdp_per_capita@12 --format bibtex\n\n\
The citations so far: SELECT * FROM system.citations"
)]
pub(crate) struct CiteArguments {
    /// The table, `namespace.table` for its newest version or `namespace.table@version`.
    #[arg(value_name = "TABLE[@VERSION]")]
    pub(crate) table: String,
    /// Form of the citation.
    #[arg(short, long, value_enum, default_value_t = CitationFormat::Text)]
    pub(crate) format: CitationFormat,
}

/// The forms of a citation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CitationFormat {
    /// A sentence for people.
    Text,
    /// A BibTeX entry.
    Bibtex,
    /// CSL-JSON for citation managers.
    CslJson,
    /// RIS for citation managers.
    Ris,
    /// DataCite metadata as JSON.
    Datacite,
}

#[derive(Debug, Args)]
#[command(
    after_help = "First steps:\n  hambar members add-org sofia\n  hambar members add-token sofia ana --role reader --scope '*'\n  hambar serve &\n  curl -H 'Authorization: Bearer hbr_…' 'http://127.0.0.1:8080/api/sql.csv?q=SELECT+1'\n\nWithout TLS it listens on loopback addresses only (`server.tls`, `server.allow_plaintext`). Queries run in processes of their own, under the limits of `[server.queries]`. Press Ctrl-C once, or send SIGTERM, to stop: what runs may end. Settings: docs/configuration.md. Interface: docs/server.md, docs/flight.md, and http://127.0.0.1:8080/docs while it runs."
)]
pub(crate) struct ServeArguments {
    /// Where to listen; overrides `server.listen`.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,
    /// Where to listen for Arrow Flight SQL; overrides `server.flight.listen`.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) flight: Option<String>,
    /// Where to listen for the Postgres protocol; overrides `server.postgres.listen`.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) postgres: Option<String>,
    /// Let everybody read the public tables that may be passed on, as `server.anonymous` does.
    #[arg(long)]
    pub(crate) anonymous: bool,
    /// Leave schedules to `hambar schedule`, as `schedule.in_server = false` does.
    #[arg(long)]
    pub(crate) no_schedules: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "What is due is in `[schedule]` of pipeline files: `cron` with a time zone, or `adaptive`. Several may run on one \
store: one leads, the others take over when it is gone. Each run is a process; Ctrl-C or SIGTERM stops them in good order. \
`hambar runs` lists what happened. `hambar serve` does the same beside serving. Settings: [schedule] in docs/configuration.md."
)]
pub(crate) struct ScheduleArguments {
    /// Only list when each job is due, and leave.
    #[arg(long)]
    pub(crate) list: bool,
    /// Form of the list.
    #[arg(short, long, value_enum, default_value_t = Format::Table, requires = "list")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct MaintainArguments {
    /// Tables; all when absent.
    #[arg(value_name = "TABLE")]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct VacuumArguments {
    #[command(flatten)]
    pub(crate) select: MaintainArguments,
    /// Days for which versions stay readable, at least 7; a longer `retention.version_days` of a pipeline holds. 30 when
    /// neither is given.
    #[arg(long)]
    pub(crate) retention_days: Option<u32>,
    /// Only say what would be removed, and why.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hambar bench observations.csv --partition-by dataset")]
pub(crate) struct BenchArguments {
    /// A data file (csv, ndjson, SDMX-ML, parquet …, also compressed).
    pub(crate) file: PathBuf,
    /// Partition the table by these columns.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    pub(crate) partition_by: Vec<String>,
    /// Take every column as text instead of inferring types from the whole file first.
    #[arg(long)]
    pub(crate) as_text: bool,
    /// Keep the table that was written in this folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) keep: Option<PathBuf>,
}
