//! What the server says about itself: which SQL it speaks, and which types there are. Drivers ask for most of it when
//! they connect.

use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{
    Nullable, Searchable, SqlInfo, SqlNullOrdering, SqlOuterJoinsSupportLevel, SqlSupportedCaseSensitivity,
    SqlSupportedGroupBy, SqlSupportedResultSetType, SqlSupportedSubqueries, SqlSupportedTransaction,
    SqlSupportedUnions, SupportedSqlGrammar, XdbcDataType, XdbcDatetimeSubcode,
};
use hambar_query::QueryLimits;

/// What is not true of any of these is not offered.
const OFFERED: [SqlInfo; 13] = [
    SqlInfo::FlightSqlServerReadOnly,
    SqlInfo::FlightSqlServerSql,
    SqlInfo::FlightSqlServerCancel,
    SqlInfo::SqlAllTablesAreSelectable,
    SqlInfo::SqlSupportsColumnAliasing,
    SqlInfo::SqlNullPlusNullIsNull,
    SqlInfo::SqlSupportsTableCorrelationNames,
    SqlInfo::SqlSupportsExpressionsInOrderBy,
    SqlInfo::SqlSupportsOrderByUnrelated,
    SqlInfo::SqlSupportsLikeEscapeClause,
    SqlInfo::SqlSupportsNonNullableColumns,
    SqlInfo::SqlCatalogAtStart,
    SqlInfo::SqlCorrelatedSubqueriesSupported,
];

const NOT_OFFERED: [SqlInfo; 18] = [
    SqlInfo::FlightSqlServerSubstrait,
    SqlInfo::FlightSqlServerBulkIngestion,
    SqlInfo::FlightSqlServerIngestTransactionsSupported,
    SqlInfo::SqlDdlCatalog,
    SqlInfo::SqlDdlSchema,
    SqlInfo::SqlDdlTable,
    SqlInfo::SqlSupportsDifferentTableCorrelationNames,
    SqlInfo::SqlSupportsIntegrityEnhancementFacility,
    SqlInfo::SqlSelectForUpdateSupported,
    SqlInfo::SqlStoredProceduresSupported,
    SqlInfo::SqlTransactionsSupported,
    SqlInfo::SqlDataDefinitionCausesTransactionCommit,
    SqlInfo::SqlDataDefinitionsInTransactionsIgnored,
    SqlInfo::SqlBatchUpdatesSupported,
    SqlInfo::SqlSavepointsSupported,
    SqlInfo::SqlNamedParametersSupported,
    SqlInfo::SqlLocatorsUpdateCopy,
    SqlInfo::SqlStoredFunctionsUsingCallSyntaxSupported,
];

const TEXTS: [(SqlInfo, &str); 9] = [
    (SqlInfo::FlightSqlServerName, "Hambar"),
    (SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION")),
    (SqlInfo::FlightSqlServerArrowVersion, arrow::ARROW_VERSION),
    (SqlInfo::SqlIdentifierQuoteChar, "\""),
    (SqlInfo::SqlSearchStringEscape, "\\"),
    (SqlInfo::SqlExtraNameCharacters, ""),
    (SqlInfo::SqlSchemaTerm, "namespace"),
    (SqlInfo::SqlProcedureTerm, "procedure"),
    (SqlInfo::SqlCatalogTerm, "catalog"),
];

/// Lengths and counts that are not limited one by one: zero is no limit, or none that is known.
const UNLIMITED: [SqlInfo; 19] = [
    SqlInfo::SqlMaxBinaryLiteralLength,
    SqlInfo::SqlMaxCharLiteralLength,
    SqlInfo::SqlMaxColumnNameLength,
    SqlInfo::SqlMaxColumnsInGroupBy,
    SqlInfo::SqlMaxColumnsInIndex,
    SqlInfo::SqlMaxColumnsInOrderBy,
    SqlInfo::SqlMaxColumnsInSelect,
    SqlInfo::SqlMaxColumnsInTable,
    SqlInfo::SqlMaxConnections,
    SqlInfo::SqlMaxCursorNameLength,
    SqlInfo::SqlMaxIndexLength,
    SqlInfo::SqlDbSchemaNameLength,
    SqlInfo::SqlMaxProcedureNameLength,
    SqlInfo::SqlMaxCatalogNameLength,
    SqlInfo::SqlMaxRowSize,
    SqlInfo::SqlMaxStatements,
    SqlInfo::SqlMaxTableNameLength,
    SqlInfo::SqlMaxUsernameLength,
    SqlInfo::SqlDefaultTransactionIsolation,
];

/// Says what the server speaks, with the limits that it has.
pub(super) fn sql_info(limits: &QueryLimits) -> Result<SqlInfoData, FlightError> {
    let mut infos = SqlInfoDataBuilder::new();
    OFFERED.into_iter().for_each(|info| infos.append(info, true));
    NOT_OFFERED.into_iter().for_each(|info| infos.append(info, false));
    TEXTS.into_iter().for_each(|(info, text)| infos.append(info, text));
    UNLIMITED.into_iter().for_each(|info| infos.append(info, 0_i64));
    for lists in [
        SqlInfo::SqlKeywords,
        SqlInfo::SqlNumericFunctions,
        SqlInfo::SqlStringFunctions,
        SqlInfo::SqlSystemFunctions,
        SqlInfo::SqlDatetimeFunctions,
    ] {
        // `information_schema.routines` lists the functions.
        infos.append(lists, Vec::<String>::new());
    }
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    infos.append(SqlInfo::SqlMaxStatementLength, count(limits.gate.text_bytes_max));
    infos.append(SqlInfo::SqlMaxTablesInSelect, count(limits.gate.joins_max.saturating_add(1)));
    infos.append(SqlInfo::SqlMaxRowSizeIncludesBlobs, true);
    let time = i32::try_from(limits.run_time_max.as_millis()).unwrap_or(i32::MAX);
    infos.append(SqlInfo::FlightSqlServerStatementTimeout, time);
    infos.append(SqlInfo::FlightSqlServerTransactionTimeout, 0_i32);
    infos.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    infos.append(SqlInfo::SqlIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32);
    infos.append(SqlInfo::SqlQuotedIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityUnknown as i32);
    infos.append(SqlInfo::SqlNullOrdering, SqlNullOrdering::SqlNullsSortedHigh as i32);
    let masks: [(SqlInfo, &[i32]); 11] = [
        (
            SqlInfo::SqlSupportedGroupBy,
            &[SqlSupportedGroupBy::SqlGroupByUnrelated as i32, SqlSupportedGroupBy::SqlGroupByBeyondSelect as i32],
        ),
        (
            SqlInfo::SqlSupportedGrammar,
            &[SupportedSqlGrammar::SqlMinimumGrammar as i32, SupportedSqlGrammar::SqlCoreGrammar as i32],
        ),
        // Entry SQL.
        (SqlInfo::SqlAnsi92SupportedLevel, &[0]),
        (SqlInfo::SqlOuterJoinsSupportLevel, &[SqlOuterJoinsSupportLevel::SqlFullOuterJoins as i32]),
        (
            SqlInfo::SqlSupportedSubqueries,
            &[
                SqlSupportedSubqueries::SqlSubqueriesInComparisons as i32,
                SqlSupportedSubqueries::SqlSubqueriesInExists as i32,
                SqlSupportedSubqueries::SqlSubqueriesInIns as i32,
            ],
        ),
        (SqlInfo::SqlSupportedUnions, &[SqlSupportedUnions::SqlUnion as i32, SqlSupportedUnions::SqlUnionAll as i32]),
        (SqlInfo::SqlSupportedResultSetTypes, &[SqlSupportedResultSetType::SqlResultSetTypeForwardOnly as i32]),
        // Names in statements: of a table in a query.
        (SqlInfo::SqlSchemasSupportedActions, &[]),
        (SqlInfo::SqlCatalogsSupportedActions, &[]),
        (SqlInfo::SqlSupportedPositionedCommands, &[]),
        (SqlInfo::SqlSupportedTransactionsIsolationLevels, &[]),
    ];
    for (info, numbers) in masks {
        infos.append(info, numbers.iter().fold(0_i32, |mask, number| mask | 1 << number));
    }
    infos.build()
}

/// Lists the types of columns.
pub(super) fn types() -> Result<XdbcTypeInfoData, FlightError> {
    let mut types = XdbcTypeInfoDataBuilder::new();
    let whole = [
        ("TINYINT", XdbcDataType::XdbcTinyint, 3),
        ("SMALLINT", XdbcDataType::XdbcSmallint, 5),
        ("INTEGER", XdbcDataType::XdbcInteger, 10),
        ("BIGINT", XdbcDataType::XdbcBigint, 19),
    ];
    for (name, kind, digits) in whole {
        types.append(XdbcTypeInfo { maximum_scale: Some(0), minimum_scale: Some(0), ..number(name, kind, digits) });
    }
    types.append(number("REAL", XdbcDataType::XdbcReal, 7));
    types.append(number("DOUBLE", XdbcDataType::XdbcDouble, 15));
    types.append(XdbcTypeInfo {
        create_params: Some(vec!["precision".to_owned(), "scale".to_owned()]),
        fixed_prec_scale: true,
        minimum_scale: Some(0),
        maximum_scale: Some(76),
        ..number("DECIMAL", XdbcDataType::XdbcDecimal, 76)
    });
    types.append(named("BOOLEAN", XdbcDataType::XdbcBit));
    types.append(XdbcTypeInfo { case_sensitive: true, ..quoted("VARCHAR", XdbcDataType::XdbcVarchar, "'") });
    types.append(quoted("VARBINARY", XdbcDataType::XdbcVarbinary, "X'"));
    types.append(quoted("DATE", XdbcDataType::XdbcDate, "DATE '"));
    let time = quoted("TIME", XdbcDataType::XdbcTime, "TIME '");
    types.append(XdbcTypeInfo { datetime_subcode: Some(XdbcDatetimeSubcode::XdbcSubcodeTime), ..time });
    let timestamp = quoted("TIMESTAMP", XdbcDataType::XdbcTimestamp, "TIMESTAMP '");
    types.append(XdbcTypeInfo { datetime_subcode: Some(XdbcDatetimeSubcode::XdbcSubcodeTimestamp), ..timestamp });
    types.build()
}

fn named(name: &str, kind: XdbcDataType) -> XdbcTypeInfo {
    XdbcTypeInfo {
        type_name: name.to_owned(),
        data_type: kind,
        nullable: Nullable::NullabilityNullable,
        searchable: Searchable::Full,
        auto_increment: Some(false),
        local_type_name: Some(name.to_owned()),
        sql_data_type: kind,
        ..XdbcTypeInfo::default()
    }
}

fn number(name: &str, kind: XdbcDataType, digits: i32) -> XdbcTypeInfo {
    XdbcTypeInfo {
        column_size: Some(digits),
        unsigned_attribute: Some(false),
        num_prec_radix: Some(10),
        ..named(name, kind)
    }
}

fn quoted(name: &str, kind: XdbcDataType, prefix: &str) -> XdbcTypeInfo {
    XdbcTypeInfo { literal_prefix: Some(prefix.to_owned()), literal_suffix: Some("'".to_owned()), ..named(name, kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_said_can_be_written() {
        let infos = sql_info(&QueryLimits::default()).unwrap();
        let all = infos.record_batch([]).unwrap();
        assert!(all.num_rows() > 70, "{}", all.num_rows());
        assert_eq!(infos.record_batch([3, 0, 9_999]).unwrap().num_rows(), 2);
        let types = types().unwrap();
        assert_eq!(types.record_batch(None::<i32>).unwrap().num_rows(), 13);
        assert_eq!(types.record_batch(Some(XdbcDataType::XdbcVarchar as i32)).unwrap().num_rows(), 1);
    }
}
