//! `hambar sql`: one statement, or the shell.

use std::io::{IsTerminal, Read, Write};

use anyhow::{Context as _, Result, bail};

use super::{query, shell};
use crate::args::SqlArguments;
use crate::context::Context;

/// Bytes of a statement on standard input; the gate reads no more anyway.
const STATEMENT_BYTES_MAX: u64 = 1024 * 1024;

/// Runs the command.
pub(crate) async fn sql(context: &Context, arguments: &SqlArguments) -> Result<()> {
    let mut limits = context.query_limits();
    if let Some(mebibytes) = arguments.memory {
        limits.memory_bytes_max = mebibytes.saturating_mul(hambar_core::limits::MIB);
    }
    if let Some(seconds) = arguments.timeout {
        limits.run_time_max = std::time::Duration::from_secs(seconds);
    }
    let statement = match arguments.statement.as_deref() {
        Some("-") => read_statement()?,
        Some(statement) => statement.to_owned(),
        None if std::io::stdin().is_terminal() => return shell::run(context, arguments.format, limits).await,
        None => read_statement()?,
    };
    let (sink, is_terminal): (Box<dyn Write + Send>, bool) = match &arguments.output {
        Some(path) => {
            let file = std::fs::File::create(path).with_context(|| format!("create `{}`", path.display()))?;
            (Box::new(std::io::BufWriter::new(file)), false)
        }
        None => (Box::new(std::io::BufWriter::new(std::io::stdout())), std::io::stdout().is_terminal()),
    };
    if arguments.format.is_binary() && is_terminal {
        bail!("this format is not for a terminal: give `--output FILE` or redirect the output");
    }
    let finished = query::run(context, &statement, &limits, arguments.format, sink).await;
    if finished.is_err()
        && let Some(path) = &arguments.output
    {
        // Half a file must not be taken for a result.
        let _ = std::fs::remove_file(path);
    }
    finished
}

fn read_statement() -> Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .take(STATEMENT_BYTES_MAX)
        .read_to_string(&mut text)
        .context("read the statement from standard input")?;
    Ok(text)
}
