// The SQL that the server speaks, as the editor highlights and completes it.

import { PostgreSQL, SQLDialect } from "@codemirror/lang-sql";

/** PostgreSQL's words, and those of time travel and of the server's own functions. */
export const dialect = SQLDialect.define({
  ...PostgreSQL.spec,
  keywords: `${PostgreSQL.spec.keywords ?? ""} version system_time qualify describe exclude`,
  builtin: `${PostgreSQL.spec.builtin ?? ""} history revisions generate_series date_bin approx_distinct approx_median
    arrow_cast arrow_typeof array_agg median percentile_cont regexp_match to_timestamp`,
});
