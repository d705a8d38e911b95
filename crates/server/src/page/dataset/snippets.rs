//! How to use a table from elsewhere, ready to be pasted: with the address by which the browser knows this server, and
//! with a place for the token where one is needed.

use hambar_core::TableName;

use crate::page::looks::address;

/// A text to be pasted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snippet {
    /// For whom it is.
    pub(super) name: &'static str,
    pub(super) text: String,
}

/// Whether whoever pastes needs a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    Token,
    None,
}

/// Returns the snippets of a version of a table.
pub(super) fn snippets(origin: &str, table: &TableName, version: Option<u64>, proof: Proof) -> Vec<Snippet> {
    let pinned = version.map_or_else(String::new, |version| format!(" VERSION AS OF {version}"));
    let sql = format!("SELECT * FROM {table}{pinned}");
    let csv = format!("{origin}{}", address("/api/sql.csv", &[("q", &sql)]));
    let has_token = proof == Proof::Token;
    let token = |with: &str| if has_token { with.to_owned() } else { String::new() };
    let curl_token = token(" -H \"Authorization: Bearer $HAMBAR_TOKEN\"");
    vec![
        Snippet { name: "SQL", text: format!("{sql} LIMIT 100") },
        Snippet { name: "curl", text: format!("curl -fsS{curl_token} \\\n  '{csv}'") },
        Snippet {
            name: "Python",
            text: format!(
                "{import}import pandas as pd\n\ndata = pd.read_csv(\n    \"{csv}\",\n{options})\n",
                import = token("import os\n"),
                options =
                    token("    storage_options={\"Authorization\": \"Bearer \" + os.environ[\"HAMBAR_TOKEN\"]},\n"),
            ),
        },
        Snippet {
            name: "R",
            text: format!(
                "data <- read.csv(url(\n  \"{csv}\"{headers}\n))\n",
                headers = token(",\n  headers = c(Authorization = paste(\"Bearer\", Sys.getenv(\"HAMBAR_TOKEN\")))"),
            ),
        },
        Snippet {
            name: "DuckDB",
            text: format!(
                "curl -fsS{curl_token} \\\n  '{csv}' |\n  duckdb -c \"SELECT * FROM read_csv('/dev/stdin')\""
            ),
        },
        Snippet {
            name: "Excel (Power Query)",
            text: format!(
                "let\n  Answer = Web.Contents(\"{origin}\", [\n    RelativePath = \"api/sql.csv\",\n    Query = [q = \"{sql}\"]{headers}\n  ]),\n  \
                 Rows = Csv.Document(Answer, [Delimiter = \",\", Encoding = 65001]),\n  \
                 Data = Table.PromoteHeaders(Rows)\nin\n  Data",
                headers = token(",\n    Headers = [Authorization = \"Bearer hbr_…\"]"),
            ),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_asked_for_only_where_it_is_needed() {
        let table = "demo.gdp".parse().unwrap();
        for snippet in snippets("http://h:1", &table, Some(3), Proof::None) {
            assert!(!snippet.text.contains("Authorization"), "{}", snippet.text);
            assert!(snippet.name == "SQL" || snippet.text.contains("http://h:1"), "{}", snippet.text);
            assert!(snippet.text.contains("VERSION") && snippet.text.contains('3'), "{}", snippet.text);
        }
        let with = snippets("http://h:1", &table, None, Proof::Token);
        assert!(with.iter().skip(1).all(|snippet| snippet.text.contains("Bearer")), "{with:?}");
        assert!(with[1].text.contains("'http://h:1/api/sql.csv?q=SELECT+*+FROM+demo.gdp'"), "{}", with[1].text);
    }
}
