//! The interactive shell: statements end with `;`, Tab completes tables, columns and words, history is kept.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use hambar_lake::Access;
use hambar_query::QueryLimits;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Editor, Helper, Highlighter, Hinter};

use super::query;
use crate::context::Context;
use crate::errors;
use crate::output::Format;

/// Words that are completed besides names.
const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "HAVING",
    "LIMIT",
    "JOIN",
    "LEFT JOIN",
    "ON",
    "WITH",
    "AS",
    "AND",
    "OR",
    "NOT",
    "IN",
    "IS NULL",
    "BETWEEN",
    "LIKE",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "UNION ALL",
    "DISTINCT",
    "DESC",
    "EXPLAIN ANALYZE",
    "FOR SYSTEM_TIME AS OF",
    "as_of(",
    "revisions(",
    "history(",
    "count(*)",
    "sum(",
    "avg(",
    "min(",
    "max(",
];

const HELP: &str = "\
\\d            list tables           \\d TABLE   describe one
\\f FORMAT     table, csv, json …    \\q         leave (or Ctrl-D)
A statement ends with `;`. Ctrl-C cancels it.";

#[derive(Helper, Highlighter, Hinter)]
struct Assistant {
    names: Vec<String>,
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = &line[..position];
        let start = before
            .rfind(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != '.')
            .map_or(0, |at| at + 1);
        let word = &before[start..];
        if word.is_empty() {
            return Ok((start, Vec::new()));
        }
        let lower = word.to_lowercase();
        let fits = |candidate: &str| candidate.to_lowercase().starts_with(&lower);
        let pair = |text: &str| Pair { display: text.to_owned(), replacement: text.to_owned() };
        let mut found: Vec<Pair> = self.names.iter().map(String::as_str).filter(|name| fits(name)).map(pair).collect();
        found.extend(WORDS.iter().copied().filter(|name| fits(name)).map(pair));
        Ok((start, found))
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let text = context.input().trim();
        let is_complete = text.is_empty() || text.ends_with(';') || text.starts_with('\\');
        Ok(if is_complete { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

/// Reads and runs statements until the end.
pub(crate) async fn run(context: &Context, mut format: Format, limits: QueryLimits) -> Result<()> {
    let names = names(context).await?;
    let mut editor: Editor<Assistant, FileHistory> = Editor::new().context("open the terminal")?;
    editor.set_helper(Some(Assistant { names }));
    let history = history_file(context);
    if let Some(file) = &history {
        // The first shell has no history yet.
        let _ = editor.load_history(file);
    }
    println!("Hambar {} on {}. \\? for help.", env!("CARGO_PKG_VERSION"), context.config.store.url);
    loop {
        let line = match editor.readline("hambar> ") {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error).context("read from the terminal"),
        };
        let text = line.trim();
        if text.is_empty() {
            continue;
        }
        editor.add_history_entry(text).context("keep the history")?;
        let outcome = match text.strip_prefix('\\') {
            Some("q") => break,
            Some(command) => meta(context, command.trim(), &mut format).await,
            None => {
                let statement = text.trim_end_matches(';');
                query::run(context, statement, &limits, format, Box::new(std::io::stdout())).await
            }
        };
        if let Err(error) = outcome {
            // The shell goes on; the exit code is of no use here.
            let _ = errors::report(&error);
        }
    }
    if let Some(file) = &history {
        editor.save_history(file).with_context(|| format!("keep the history in `{}`", file.display()))?;
    }
    Ok(())
}

async fn meta(context: &Context, command: &str, format: &mut Format) -> Result<()> {
    let (name, argument) =
        command.split_once(' ').map_or((command, ""), |(name, rest)| (name, rest.trim().trim_end_matches(';')));
    match (name, argument) {
        ("d", "") => super::list::tables(context, &crate::args::ListArguments { format: *format }).await,
        ("d", table) => {
            let arguments = crate::args::TableArguments { table: table.to_owned(), format: *format };
            super::list::describe(context, &arguments).await
        }
        ("f", wanted) => {
            *format = <Format as clap::ValueEnum>::from_str(wanted, true)
                .map_err(|_| anyhow::anyhow!("`{wanted}` is no format"))?;
            Ok(())
        }
        _ => {
            println!("{HELP}");
            Ok(())
        }
    }
}

/// Table and column names, for completion.
async fn names(context: &Context) -> Result<Vec<String>> {
    let lake = context.lake(Access::ReadOnly).await?;
    let mut names = std::collections::BTreeSet::new();
    for table in lake.tables().await? {
        let snapshot = lake.snapshot(&table, None).await?;
        names.extend(snapshot.schema.fields().iter().map(|field| field.name().clone()));
        names.insert(table.to_string());
    }
    Ok(names.into_iter().collect())
}

fn history_file(context: &Context) -> Option<PathBuf> {
    let folder = context.home.as_ref()?.join(".local/state/hambar");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}
