//! A checked pipeline, and reading pipelines from a folder. The path of a file is the name of its table.

use std::path::{Path, PathBuf};

use hambar_connect::SourceSpec;
use hambar_core::{Ident, TableName, TableSpec};
use hambar_decode::spec::DecodeJob;

use crate::schedule::{Job, JobName, Schedule};
use crate::spec::{Problem, Retention, parse};

/// Bytes of a pipeline file.
const PIPELINE_BYTES_MAX: u64 = 1024 * 1024;
/// Namespaces that are Hambar's own or SQL's.
const NAMESPACES_RESERVED: [&str; 4] = ["system", "information_schema", "pg_catalog", "hambar"];
/// Endings of tables that belong to other tables.
const SUFFIXES_RESERVED: [&str; 2] = ["__history", "__rejects"];

/// A declared dataset, checked; nothing in it needs to be validated again.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// Its name, which is its table's.
    pub name: TableName,
    /// The file that declares it.
    pub file: PathBuf,
    /// The table that it fills.
    pub table: TableSpec,
    /// How its bytes become rows; connectors add what differs from page to page.
    pub job: DecodeJob,
    /// Where its bytes come from.
    pub source: SourceSpec,
    /// Whether a source that had rows may be empty.
    pub allow_empty: bool,
    /// When it is due; by hand only when absent.
    pub schedule: Option<Schedule>,
    /// How long old things are kept.
    pub retention: Retention,
    /// Whom the provider may write to.
    pub contact: Option<String>,
}

impl Pipeline {
    /// Reads and checks one file; the table's name is its path, `<namespace>/<table>.toml`.
    ///
    /// # Errors
    /// Everything that is wrong with the file, in the order of the places.
    pub fn load(file: &Path) -> Result<Self, Vec<Problem>> {
        let name = name_of(file);
        let text = read(file);
        match (name, text) {
            (Ok(name), Ok(text)) => parse(file, name, &text),
            (Err(problem), Ok(text)) => {
                // The content is checked under a stand-in, so that its problems show at once too.
                let mut problems = vec![problem];
                let stand_in = TableName { namespace: Ident::from_source("x"), table: Ident::from_source("x") };
                problems.extend(parse(file, stand_in, &text).err().unwrap_or_default());
                Err(problems)
            }
            (name, Err(problem)) => Err(name.err().into_iter().chain([problem]).collect()),
        }
    }

    /// Reads and checks every `<folder>/<namespace>/<table>.toml`, in the order of the names.
    ///
    /// # Errors
    /// Everything that is wrong in any of them.
    pub fn load_all(folder: &Path) -> Result<Vec<Self>, Vec<Problem>> {
        let (pipelines, problems) = Self::load_right(folder);
        if problems.is_empty() { Ok(pipelines) } else { Err(problems) }
    }

    /// Does as [`Pipeline::load_all`], and returns those that are right also where others are wrong.
    pub fn load_right(folder: &Path) -> (Vec<Self>, Vec<Problem>) {
        let (mut pipelines, mut problems) = (Vec::new(), Vec::new());
        let namespaces = match entries(folder) {
            Ok(namespaces) => namespaces,
            Err(problem) => return (pipelines, vec![problem]),
        };
        for namespace in namespaces {
            if !namespace.is_dir() {
                if namespace.extension().is_some_and(|extension| extension == "toml") {
                    problems.push(misplaced(&namespace));
                }
                continue;
            }
            let files = match entries(&namespace) {
                Ok(files) => files,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            };
            for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "toml")) {
                match Self::load(file) {
                    Ok(pipeline) => pipelines.push(pipeline),
                    Err(found) => problems.extend(found),
                }
            }
        }
        (pipelines, problems)
    }

    /// Returns the job that its schedule makes of it, where there is one. `provider` is counted as the file names it.
    pub fn scheduled(&self) -> Option<Job> {
        Some(Job {
            name: JobName::Pipeline(self.name.clone()),
            schedule: self.schedule.clone()?,
            hosts: self.source.hosts(),
            provider: Some(self.table.origin.provider.clone()),
        })
    }

    /// Returns a text that changes with everything that decides which rows the same bytes give.
    pub fn decode_hash(&self) -> String {
        // Limits stop a run, they do not change rows; threads and caps may be raised without reading all again.
        let mut job = self.job.clone();
        job.limits = hambar_decode::spec::DecodeLimits::default();
        hash_of(&(&job, &self.table.key, &self.table.partition_by, self.table.write))
    }

    /// Returns a text that changes with everything that `system.datasets` says about the table.
    pub fn declaration_hash(&self) -> String {
        hash_of(&self.table)
    }
}

fn hash_of(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_vec(value).expect("specs are made of texts, numbers and lists, which JSON can hold");
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&text))
}

fn name_of(file: &Path) -> Result<TableName, Problem> {
    let part = |path: Option<&std::ffi::OsStr>| path.and_then(std::ffi::OsStr::to_str).unwrap_or_default().to_owned();
    let table = part(file.file_stem());
    let namespace = part(file.parent().and_then(Path::file_name));
    let problem = |what: String, help: &str| Problem {
        file: file.to_owned(),
        line: 1,
        column: 1,
        what,
        help: Some(help.to_owned()),
    };
    let name: TableName = match (namespace.parse(), table.parse()) {
        (Ok(namespace), Ok(table)) => TableName { namespace, table },
        (Err(error), _) | (_, Err(error)) => {
            let error: hambar_core::NameError = error;
            return Err(problem(error.to_string(), "the path is the table's name: `<namespace>/<table>.toml`"));
        }
    };
    if NAMESPACES_RESERVED.contains(&namespace.as_str()) || namespace.starts_with('_') {
        return Err(problem(format!("the namespace `{namespace}` is reserved"), "use another folder"));
    }
    if SUFFIXES_RESERVED.iter().any(|suffix| table.ends_with(suffix)) || table.starts_with('_') {
        let help = "`_…`, `…__history` and `…__rejects` are Hambar's own";
        return Err(problem(format!("the table name `{table}` is reserved"), help));
    }
    Ok(name)
}

fn read(file: &Path) -> Result<String, Problem> {
    let problem = |what: String| Problem { file: file.to_owned(), line: 1, column: 1, what, help: None };
    let length = std::fs::metadata(file).map_err(|error| problem(format!("cannot be read: {error}")))?.len();
    if length > PIPELINE_BYTES_MAX {
        return Err(problem(format!("{length} bytes, more than the limit of {PIPELINE_BYTES_MAX} bytes")));
    }
    std::fs::read_to_string(file).map_err(|error| problem(format!("cannot be read: {error}")))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let problem = |error: std::io::Error| Problem {
        file: folder.to_owned(),
        line: 1,
        column: 1,
        what: format!("cannot be read: {error}"),
        help: None,
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(problem)? {
        paths.push(entry.map_err(problem)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn misplaced(file: &Path) -> Problem {
    Problem {
        file: file.to_owned(),
        line: 1,
        column: 1,
        what: "a pipeline file must be in the folder of its namespace".to_owned(),
        help: Some("move it to `<namespace>/<table>.toml`".to_owned()),
    }
}
