//! `cite`: pins a version of a table and prints its citation.

use anyhow::{Context as _, Result, bail};
use hambar_core::TableName;
use hambar_core::citation::CitationForm;
use hambar_lake::Access;

use crate::args::{CitationFormat, CiteArguments};
use crate::context::Context;

/// `hambar cite`
pub(crate) async fn cite(context: &Context, arguments: &CiteArguments) -> Result<()> {
    let (table, version) = parse(&arguments.table)?;
    let lake = context.lake(Access::ReadWrite).await?;
    let citation = lake.cite(&table, version).await.with_context(|| format!("cite `{}`", arguments.table))?;
    let form = match arguments.format {
        CitationFormat::Text => CitationForm::Text,
        CitationFormat::Bibtex => CitationForm::Bibtex,
        CitationFormat::CslJson => CitationForm::CslJson,
        CitationFormat::Ris => CitationForm::Ris,
        CitationFormat::Datacite => CitationForm::Datacite,
    };
    print!("{}", citation.render(form));
    Ok(())
}

/// Reads `namespace.table` or `namespace.table@version`.
fn parse(text: &str) -> Result<(TableName, Option<u64>)> {
    let Some((table, version)) = text.split_once('@') else {
        return Ok((text.parse()?, None));
    };
    let Ok(number) = version.parse() else {
        bail!("`{version}` is not a version of `{table}`: versions are numbers, listed by `hambar history {table}`");
    };
    Ok((table.parse()?, Some(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_follows_an_at_sign() {
        let shown = |text: &str| parse(text).map(|(table, version)| format!("{table} {version:?}"));
        assert_eq!(shown("a.b").unwrap(), "a.b None");
        assert_eq!(shown("a.b@12").unwrap(), "a.b Some(12)");
        for wrong in ["a", "a.b@", "a.b@x", "a.b@-1", "a.b@1@2"] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
    }
}
