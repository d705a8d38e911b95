//! The functions that statements may call: a committed list. DataFusion's other functions read files, show settings
//! or make values without bound; a function that a new version brings is refused until somebody lists it here.

mod arithmetic;
mod capped;
mod group_sums;
mod sums;
mod utc;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, Volatility, WindowUDF};

pub(crate) use arithmetic::{CheckedArithmetic, check_arithmetic};
use capped::{Capped, Growth};
use utc::InUtc;

/// The name of the one catalogue.
pub(crate) const CATALOG: &str = "hambar";

/// The functions that may stand in `FROM`.
pub const TABLE_FUNCTIONS: [&str; 5] = ["as_of", "generate_series", "history", "range", "revisions"];

/// The committed list; a test compares it with what a session offers.
const LIST: &str = include_str!("functions.txt");

static OFFERED: LazyLock<BTreeSet<&'static str>> =
    LazyLock::new(|| LIST.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect());

/// Names of DataFusion's functions that are not offered, aliases included.
static REFUSED: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let scalar = SessionStateDefaults::default_scalar_functions();
    let aggregate = SessionStateDefaults::default_aggregate_functions();
    let window = SessionStateDefaults::default_window_functions();
    let higher = SessionStateDefaults::default_higher_order_functions();
    let mut names = BTreeSet::new();
    let mut add = |name: &str, aliases: &[String]| {
        if !is_offered(name) {
            names.insert(name.to_owned());
            names.extend(aliases.iter().cloned());
        }
    };
    scalar.iter().for_each(|function| add(function.name(), function.aliases()));
    aggregate.iter().for_each(|function| add(function.name(), function.aliases()));
    window.iter().for_each(|function| add(function.name(), function.aliases()));
    names.extend(higher.iter().map(|function| function.name().to_owned()));
    names.retain(|name| !OFFERED.contains(name.as_str()));
    names
});

/// Names of functions that ask for the time or for chance, aliases included.
static CHANGEABLE: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let all = SessionStateDefaults::default_scalar_functions();
    let changeable = all.iter().filter(|function| function.signature().volatility != Volatility::Immutable);
    let named = changeable.flat_map(|function| {
        function.aliases().iter().cloned().chain([function.name().to_owned()]).collect::<Vec<_>>()
    });
    // What the parser knows as words of their own.
    named.chain(["current_timestamp", "localtime", "localtimestamp"].map(str::to_owned)).collect()
});

/// Says whether a function of this name may give something else when it is called again.
pub(crate) fn is_changeable(name: &str) -> bool {
    CHANGEABLE.contains(name)
}

/// Returns the names of the offered scalar, aggregate and window functions, sorted.
pub fn offered_functions() -> Vec<&'static str> {
    OFFERED.iter().copied().collect()
}

/// Says whether a function of this name may be called.
pub(crate) fn is_offered(name: &str) -> bool {
    OFFERED.contains(name)
}

/// Says whether the name is one of DataFusion's functions that are not offered.
pub(crate) fn is_refused(name: &str) -> bool {
    REFUSED.contains(name)
}

/// Returns the scalar functions of a session, the ones that can grow behind a cap, `date_trunc` with a shorter way.
pub(crate) fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let capped = BTreeMap::from([
        ("repeat", Growth::Repeat),
        ("lpad", Growth::Pad),
        ("rpad", Growth::Pad),
        ("replace", Growth::Replace),
    ]);
    SessionStateDefaults::default_scalar_functions()
        .into_iter()
        .filter(|function| is_offered(function.name()))
        .map(|function| match capped.get(function.name()) {
            Some(growth) => Capped::wrap(function, *growth),
            None if function.name().starts_with("regexp_") => Capped::wrap(function, Growth::Pattern),
            None if function.name() == "date_trunc" => InUtc::wrap(function),
            None => function,
        })
        .collect()
}

/// Returns the aggregate functions of a session, `sum` in a form that does not wrap around.
pub(crate) fn aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    let all = SessionStateDefaults::default_aggregate_functions().into_iter();
    let offered = all.filter(|function| is_offered(function.name()));
    offered.map(|function| if function.name() == "sum" { sums::checked_sum() } else { function }).collect()
}

/// Returns the window functions of a session.
pub(crate) fn window_functions() -> Vec<Arc<WindowUDF>> {
    let all = SessionStateDefaults::default_window_functions();
    all.into_iter().filter(|function| is_offered(function.name())).collect()
}
