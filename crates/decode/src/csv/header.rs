//! Names the columns.

use std::collections::HashSet;

/// Names of the columns, and whether an unnamed empty one follows the last.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) names: Vec<String>,
    pub(crate) empty_last: bool,
}

/// Joins the header's lines column by column. A last column without a name is left out (a delimiter at the end of each
/// line, as in the World Bank's bulk files).
pub(crate) fn from_lines(lines: &[Vec<String>]) -> Header {
    let width = lines.iter().map(Vec::len).max().unwrap_or_default();
    let mut texts: Vec<String> = (0..width)
        .map(|column| {
            let parts: Vec<&str> = lines
                .iter()
                .filter_map(|line| line.get(column))
                .map(String::as_str)
                .filter(|part| !part.is_empty())
                .collect();
            parts.join(" ")
        })
        .collect();
    let empty_last = width > 1 && texts.last().is_some_and(String::is_empty);
    if empty_last {
        texts.pop();
    }
    Header { names: unique(texts), empty_last }
}

/// Names columns of a file without header.
pub(crate) fn numbered(columns: usize) -> Header {
    Header { names: unique(vec![String::new(); columns]), empty_last: false }
}

fn unique(texts: Vec<String>) -> Vec<String> {
    let mut taken: HashSet<String> = texts.iter().filter(|text| !text.is_empty()).cloned().collect();
    let mut seen: HashSet<String> = HashSet::new();
    let mut names = Vec::with_capacity(texts.len());
    for (index, text) in texts.into_iter().enumerate() {
        let is_new = !text.is_empty() && seen.insert(text.clone());
        let name = if is_new {
            text
        } else {
            let base = if text.is_empty() { format!("column_{}", index + 1) } else { text };
            let numbered = (2..).map(|number| format!("{base} ({number})"));
            let mut candidates = std::iter::once(base.clone()).chain(numbered);
            candidates.find(|candidate| !taken.contains(candidate)).unwrap_or(base)
        };
        taken.insert(name.clone());
        names.push(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_never_empty() {
        for (lines, names, empty_last) in [
            (vec![vec!["a", "b"]], vec!["a", "b"], false),
            (vec![vec!["a", ""]], vec!["a"], true),
            (vec![vec!["", "b", "", "b"]], vec!["column_1", "b", "column_3", "b (2)"], false),
            (vec![vec!["b", "b (2)", "b"]], vec!["b", "b (2)", "b (3)"], false),
            (vec![vec!["x", "", "y"], vec!["1", "2"]], vec!["x 1", "2", "y"], false),
            (vec![vec!["", "column_1"]], vec!["column_1 (2)", "column_1"], false),
        ] {
            let lines: Vec<Vec<String>> =
                lines.into_iter().map(|line| line.into_iter().map(str::to_owned).collect()).collect();
            assert_eq!(
                from_lines(&lines),
                Header { names: names.into_iter().map(str::to_owned).collect(), empty_last }
            );
        }
    }
}
