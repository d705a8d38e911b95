//! The SQL that the gate reads: DataFusion's generic dialect without the parts that only other systems
//! have, and with table versions (`FOR SYSTEM_TIME AS OF`, `VERSION AS OF`).

use std::any::TypeId;

use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect};

/// Hambar's dialect.
#[derive(Debug)]
pub(crate) struct HambarDialect;

/// Switches the named syntax on.
macro_rules! with_syntax {
    ($($name:ident)*) => { $(fn $name(&self) -> bool { true })* };
}

impl Dialect for HambarDialect {
    // sqlparser asks for the generic dialect by type in many places; we are that dialect to it.
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn is_delimited_identifier_start(&self, character: char) -> bool {
        character == '"' || character == '`'
    }

    fn is_identifier_start(&self, character: char) -> bool {
        character.is_alphabetic() || character == '_'
    }

    fn is_identifier_part(&self, character: char) -> bool {
        character.is_alphanumeric() || character == '_' || character == '$'
    }

    with_syntax! {
        supports_table_versioning
        supports_group_by_expr
        supports_left_associative_joins_without_parens
        supports_window_clause_named_window_reference
        supports_window_function_null_treatment_arg
        supports_filter_during_aggregation
        supports_select_wildcard_except
        supports_select_wildcard_exclude
        supports_select_wildcard_replace
        supports_select_wildcard_rename
        supports_dictionary_syntax
        support_map_literal_syntax
        allow_extract_custom
        allow_extract_single_quotes
        supports_extract_comma_syntax
        supports_parens_around_table_factor
        supports_values_as_table_factor
        supports_explain_with_utility_options
        supports_limit_comma
        supports_from_first_select
        supports_projection_trailing_commas
        supports_try_convert
        supports_bitwise_shift_operators
        supports_named_fn_args_with_assignment_operator
        supports_struct_literal
        supports_nested_comments
        supports_string_escape_constant
        supports_unicode_string_literal
        supports_array_typedef_with_brackets
        supports_interval_options
        supports_comma_separated_trim
    }
}
