//! Optimizer rules that DataFusion lacks, or has in a form that is not always exact: rows of a ranking that cannot be
//! among the first, several distinct counts at once, expressions over texts that repeat, groups by such texts, the
//! dictionaries of their files, and joins with lists. Each is a rewrite to an equal plan.

mod coded_groups;
mod codes;
mod dense_groups;
mod dictionaries;
mod dictionary_reader;
mod distinct_counts;
mod fallback;
mod leaders;
mod listed_keys;
mod memo;
mod memoize;
mod packed;
mod ranking;
mod recent;
mod texts;

use std::sync::Arc;

use datafusion::optimizer::OptimizerRule;
use datafusion::optimizer::optimizer::Optimizer;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;

pub(crate) use dictionaries::FileDictionaries;
pub(crate) use dictionary_reader::dictionary_columns;

/// Returns the rules for logical plans, DataFusion's own included.
pub(crate) fn logical() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    let place = rules.iter().position(|rule| rule.name() == "single_distinct_aggregation_to_group_by");
    rules.insert(place.unwrap_or(rules.len()), Arc::new(distinct_counts::DistinctCounts));
    let place = rules.iter().position(|rule| rule.name() == "push_down_filter");
    rules.insert(place.unwrap_or(rules.len()), Arc::new(listed_keys::ListedKeys));
    rules
}

/// Returns the rules for physical plans, DataFusion's own included.
pub(crate) fn physical() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    // Before filters go down to the files, which then use the same expressions.
    let place = rules.iter().position(|rule| rule.name() == "FilterPushdown");
    rules.insert(place.unwrap_or(0), Arc::new(memoize::Memoize));
    // Before distribution and order are enforced: the rows are then sorted once fewer are left.
    let place = rules.iter().position(|rule| rule.name() == "EnsureRequirements");
    rules.insert(place.unwrap_or(0), Arc::new(ranking::Ranking));
    // Last but for the checks: what it makes is not to be rearranged.
    let place = rules.iter().position(|rule| rule.name() == "EnsureCooperative");
    rules.insert(place.unwrap_or(rules.len()), Arc::new(coded_groups::CodedGroups));
    // After everything that asks for the types of texts, and after the check of orders: they stay, but it would not see through
    // what becomes of a filter on one value.
    rules.push(Arc::new(dictionaries::Dictionaries));
    rules.push(Arc::new(dense_groups::DenseGroups));
    rules
}
