//! The first chart and the first map of a dataset: what the scripts draw, and links to the same data for everybody else.

use maud::{Markup, html};

use super::charts::Subject as Charted;
use super::{ColumnInfo, Subject};
use crate::page::looks::{Looks, address};

/// Shows them, where the table has what they need.
pub(super) fn pictures(looks: &Looks, subject: &Subject<'_>, title: &str) -> Markup {
    let t = looks.texts();
    let source = subject.source();
    let charted = Charted {
        source: &source,
        columns: &subject.columns,
        key: subject.dataset().map(|dataset| dataset.key.as_slice()).unwrap_or_default(),
        code_lists: &subject.code_lists,
    };
    let (chart, map) = (charted.chart(), charted.map());
    html! {
        @if let Some(chart) = chart {
            section #chart {
                h2 { (t.chart) }
                hb-chart data-query=(chart.sql) data-x=(chart.x) data-y=(chart.y) data-series=[&chart.series]
                    data-kind=(chart.kind) data-unit=[&chart.unit] data-title=(title) {
                    p { a href=(address("/sql", &[("q", &chart.sql), ("view", "chart")])) { (t.chart_data) } }
                }
            }
        }
        @if let Some(map) = map {
            section #map {
                h2 { (t.map) @if map.is_newest { " (" (t.map_latest) ")" } }
                hb-map data-query=(map.sql) data-region=(map.region) data-value=(map.value) data-codes=(map.codes)
                    data-unit=[&map.unit] data-title=(title) {
                    p { a href=(address("/sql", &[("q", &map.sql), ("view", "map")])) { (t.map_data) } }
                }
            }
        }
    }
}

impl Subject<'_> {
    /// What stands after `FROM`.
    pub(super) fn source(&self) -> String {
        match self.version {
            Some(version) => format!("{} VERSION AS OF {version}", self.table),
            None => self.table.to_string(),
        }
    }

    /// The columns of the table itself.
    pub(super) fn own_columns(&self) -> impl Iterator<Item = &ColumnInfo> {
        self.columns.iter().filter(|column| !super::PROVENANCE.contains(&column.name.as_str()))
    }
}
