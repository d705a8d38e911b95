// The SQL that the server speaks, as the editor highlights and completes it.

import { PostgreSQL, SQLDialect } from "@codemirror/lang-sql";

/** PostgreSQL's way of writing, with the words that statements here use: of its hundreds of keywords most are only good
    for hiding the names of columns. */
export const dialect = SQLDialect.define({
  ...PostgreSQL.spec,
  keywords: `all and any array as asc between by case cast coalesce cross current_date current_timestamp desc describe
    distinct else end escape except exclude exists explain extract false fetch filter first following for from full
    group having ilike in inner intersect interval is join last lateral left like limit natural not null nullif nulls of
    offset on or order outer over partition preceding qualify range recursive right row rows select set show similar
    some system_time table tablesample then to true unbounded union unnest using values version when where window with
    within`,
  types: `bigint boolean bytea char date decimal double float int integer numeric precision real smallint text time
    timestamp varchar`,
  builtin: `abs approx_distinct approx_median array_agg arrow_cast arrow_typeof avg bool_and bool_or ceil char_length
    concat concat_ws corr count covar_pop covar_samp date_bin date_part date_trunc dense_rank exp first_value floor
    generate_series greatest history initcap lag last_value lead least left length ln log log10 log2 lower lpad ltrim
    max median min mod now ntile percent_rank percentile_cont position power rank regexp_like regexp_match
    regexp_replace repeat replace reverse revisions round row_number rpad rtrim sqrt stddev stddev_pop string_agg strpos
    substr sum to_char to_date to_timestamp translate trim trunc upper var_pop var_samp`,
});
