//! The table: operations, the protocols that offer them, and for each asker what comes of it.

use super::Operation;
use super::Operation::{
    Ask, CancelForeign, CancelOwn, CiteQuery, Columns, Describe, Export, List, Operate, Read, Save, ShowCitation, Write,
};

/// The protocols: HTTP, Arrow Flight SQL, Postgres, and the web page.
pub(super) const PROTOCOLS: &str = "HFPW";

/// Whoever asks, in the order of the cells: name, role, scope.
pub(super) const ASKERS: [(&str, &str, &str); 12] = [
    ("anonymous", "", ""),
    ("reader", "reader", "*"),
    ("narrow", "reader", "demo"),
    ("outside", "reader", "system"),
    ("curator", "curator", "*"),
    ("closed", "curator", "closed"),
    ("operator", "operator", "*"),
    ("shift", "operator", "demo"),
    ("administrator", "administrator", "*"),
    ("keeper", "administrator", "demo,system"),
    ("expired", "reader", "*"),
    ("revoked", "reader", "*"),
];

const COUNT_OPEN: &str = "SELECT concat('told=', count(*)) AS found FROM demo.figures";
const COUNT_HISTORY: &str = "SELECT concat('told=', count(*)) AS found FROM demo.figures__history";
const COUNT_CLOSED: &str = "SELECT concat('told=', count(*)) AS found FROM closed.numbers";
const COUNT_ROWS: &str = "SELECT concat('told=', count(*)) AS found FROM demo.rows";
const LAST_ROW: &str = "SELECT concat('told=', max(id)) AS found FROM demo.rows VERSION AS OF 1 WHERE id >= 0";
const ROWS_IN_A_JOIN: &str = "SELECT concat('told=', count(*)) AS found FROM demo.figures f LEFT JOIN demo.rows r USING (id) WHERE r.id IS NOT NULL";
const HIDDEN: &str = "SELECT concat('told=', count(note)) AS found FROM demo.columns";
const HIDDEN_BEFORE: &str = "SELECT concat('told=', max(length(note))) AS found FROM demo.columns VERSION AS OF 1";
const YEAR: &str = "SELECT concat('told=', min(year)) AS found FROM demo.columns";
const SHOWN: &str = "SELECT concat('told=', count(country)) AS found FROM demo.columns";
const RUNS: &str = "SELECT concat('told=', count(*) > 0) AS found FROM system.runs";
const AUDIT: &str = "SELECT concat('told=', count(*) >= 0) AS found FROM system.audit";
const NAMED: &str = "SELECT concat('told=', count(*)) AS found FROM information_schema.columns \
    WHERE table_schema = 'demo' AND table_name = 'columns' AND column_name IN ('year', 'value', 'note')";

/// `-`: it does not exist for them. `x`: they may not. `?`: they are not let in. `.`: it cannot be tried. Else what they get.
#[rustfmt::skip]
pub(super) const MATRIX: &[(Operation, &str, &str)] = &[
    //                                                 anonymous reader narrow outside curator closed operator shift administrator keeper expired revoked
    (Ask(COUNT_OPEN), "HFPW",                         "2000      2000   2000   -       2000    -      2000     2000  2000          2000   ?       ?"),
    (Ask(COUNT_HISTORY), "HFPW",                      "0         0      0      -       0       -      0        0     0             0      ?       ?"),
    (Ask(COUNT_CLOSED), "HFPW",                       "-         1      -      -       1       1      1        -     1             -      ?       ?"),
    (Ask(COUNT_ROWS), "HFPW",                         "5         10     10     -       100     -      100      100   100           100    ?       ?"),
    (Ask(LAST_ROW), "HFPW",                           "4         9      9      -       99      -      99       99    99            99     ?       ?"),
    (Ask(ROWS_IN_A_JOIN), "HFPW",                     "5         10     10     -       100     -      100      100   100           100    ?       ?"),
    (Ask(HIDDEN), "HFPW",                             "-         -      -      -       80      -      80       80    80            80     ?       ?"),
    (Ask(HIDDEN_BEFORE), "HFPW",                      "-         -      -      -       8       -      8        8     8             8      ?       ?"),
    (Ask(YEAR), "HFPW",                               "-         2000   2000   -       2000    -      2000     2000  2000          2000   ?       ?"),
    (Ask(SHOWN), "HFPW",                              "100       100    100    -       100     -      100      100   100           100    ?       ?"),
    (Ask(NAMED), "HFPW",                              "0         1      1      0       3       0      3        3     3             3      ?       ?"),
    (Ask(RUNS), "HFPW",                               "-         -      -      -       -       -      true     -     true          true   ?       ?"),
    (Ask(AUDIT), "HFPW",                              "-         -      -      -       -       -      true     -     true          true   ?       ?"),
    (Read("demo.figures"), "HFPW",                    "ok        ok     ok     -       ok      -      ok       ok    ok            ok     ?       ?"),
    (Read("demo.rows"), "HFPW",                       "ok        ok     ok     -       ok      -      ok       ok    ok            ok     ?       ?"),
    (Read("demo.columns"), "HFPW",                    "ok        ok     ok     -       ok      -      ok       ok    ok            ok     ?       ?"),
    (Read("closed.numbers"), "HFPW",                  "-         ok     -      -       ok      ok     ok       -     ok            -      ?       ?"),
    (Read("system.runs"), "HFPW",                     "-         -      -      -       -       -      ok       -     ok            ok     ?       ?"),
    (Read("demo.nothing"), "HFPW",                    "-         -      -      -       -       -      -        -     -             -      ?       ?"),
    (Export("demo.figures"), "HFP",                   "2000      2000   2000   -       2000    -      2000     2000  2000          2000   ?       ?"),
    (Export("demo.rows"), "HFP",                      "5         10     10     -       100     -      100      100   100           100    ?       ?"),
    (Export("demo.columns"), "HFP",                   "100       100    100    -       100     -      100      100   100           100    ?       ?"),
    (Export("closed.numbers"), "HFP",                 "-         1      -      -       1       1      1        -     1             -      ?       ?"),
    (List, "HFP",                                     "dc,df,dr  cn,dc,df,dr dc,df,dr - cn,dc,df,dr cn cn,dc,df,dr,sr dc,df,dr cn,dc,df,dr,sr dc,df,dr,sr ? ?"),
    // The catalogue of the page is about data, not about the centre.
    (List, "W",                                       "dc,df,dr  cn,dc,df,dr dc,df,dr - cn,dc,df,dr cn cn,dc,df,dr    dc,df,dr cn,dc,df,dr    dc,df,dr    ? ?"),
    (Columns("demo.columns"), "HFPW",                 "id,country id,country,year id,country,year - id,country,year,value,note - id,country,year,value,note id,country,year,value,note id,country,year,value,note id,country,year,value,note ? ?"),
    (Write, "HFPW",                                   "x         x      x      x       x       x      x        x     x             x      ?       ?"),
    // People without a token have no list of queries: many share an address.
    (CancelOwn, "H",                                  ".         ok     ok     ok      ok      ok     ok       ok    ok            ok     ?       ?"),
    (CancelOwn, "FP",                                 "ok        ok     ok     ok      ok      ok     ok       ok    ok            ok     ?       ?"),
    (CancelForeign, "H",                              "-         -      -      -       -       -      ok       ok    ok            ok     ?       ?"),
    // A ticket serves nobody but whom it was made for.
    (CancelForeign, "F",                              "x         x      x      x       x       x      x        x     x             x      ?       ?"),
    (Operate, "HW",                                   "x         x      x      x       x       x      ok       ok    ok            ok     ?       ?"),
    (Save, "H",                                       "x         ok     ok     ok      ok      ok     ok       ok    ok            ok     ?       ?"),
    (ShowCitation("demo.figures"), "HW",              "whole     whole  whole  -       whole   -      whole    whole whole         whole  ?       ?"),
    (ShowCitation("demo.rows"), "HW",                 "part      part   part   -       whole   -      whole    whole whole         whole  ?       ?"),
    (ShowCitation("demo.columns"), "HW",              "part      part   part   -       whole   -      whole    whole whole         whole  ?       ?"),
    (ShowCitation("closed.numbers"), "HW",            "-         whole  -      -       whole   whole  whole    -     whole         -      ?       ?"),
    // Whoever cites takes room in the store for good, and so has a token.
    (CiteQuery("demo.figures"), "H",                  "?         ok     ok     -       ok      -      ok       ok    ok            ok     ?       ?"),
    (CiteQuery("demo.rows"), "H",                     "?         x      x      -       ok      -      ok       ok    ok            ok     ?       ?"),
    (CiteQuery("demo.columns"), "H",                  "?         x      x      -       ok      -      ok       ok    ok            ok     ?       ?"),
    (CiteQuery("closed.numbers"), "H",                "?         ok     -      -       ok      ok     ok       -     ok            -      ?       ?"),
    (Describe("demo.figures"), "H",                   "2000      2000   2000   -       2000    -      2000     2000  2000          2000   ?       ?"),
    (Describe("demo.rows"), "H",                      "untold    untold untold -       100     -      100      100   100           100    ?       ?"),
    (Describe("demo.columns"), "H",                   "untold    untold untold -       100     -      100      100   100           100    ?       ?"),
    (Describe("closed.numbers"), "H",                 "-         1      -      -       1       1      1        -     1             -      ?       ?"),
];
