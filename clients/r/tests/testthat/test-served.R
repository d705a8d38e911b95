# Against a running server over the store of `hambar demo`: HAMBAR_TEST_URL and HAMBAR_TEST_TOKEN name it.

served <- function(...) {
  url <- Sys.getenv("HAMBAR_TEST_URL")
  if (url == "") skip("HAMBAR_TEST_URL names no server")
  hambar_connect(url, token = Sys.getenv("HAMBAR_TEST_TOKEN"), ...)
}

forms <- function() if (requireNamespace("arrow", quietly = TRUE)) c("json", "arrow") else "json"

test_that("a statement gives a data frame with its types", {
  for (form in forms()) {
    rows <- hambar_sql(
      served(),
      "SELECT country, year, kwh_per_head, DATE '2024-02-29' AS day, year > 2010 AS late, CAST(NULL AS DOUBLE) AS gap, '007' AS code,
       9007199254740991 AS large, TIMESTAMP '2024-02-29T12:30:00Z' AS moment
       FROM demo.electricity WHERE country = $1 AND year >= $2 ORDER BY year",
      list("Bulgaria", 2015), form = form
    )
    expect_gt(nrow(rows), 3)
    expect_equal(unique(rows$country), "Bulgaria")
    expect_type(rows$year, "integer")
    expect_type(rows$kwh_per_head, "double")
    expect_equal(rows$day[[1]], as.Date("2024-02-29"))
    expect_true(all(rows$late))
    expect_true(all(is.na(rows$gap)) && is.numeric(rows$gap))
    expect_equal(rows$code[[1]], "007")
    expect_equal(as.numeric(rows$large[[1]]), 9007199254740991)
    expect_equal(as.numeric(rows$moment[[1]]), as.numeric(as.POSIXct("2024-02-29 12:30:00", tz = "UTC")))
  }
})

test_that("no rows keep their columns", {
  rows <- hambar_sql(served(), "SELECT country, year FROM demo.electricity WHERE year = 1", form = "json")
  expect_equal(dim(rows), c(0L, 2L))
  expect_type(rows$country, "character")
})

test_that("parameters are values", {
  sly <- "'; DROP TABLE demo.electricity --"
  asked <- list(sly, 7, NA, TRUE, as.Date("2024-02-29"))
  rows <- hambar_sql(served(), "SELECT $1 AS a, $2 AS b, $3 AS c, $4 AS d, CAST($5 AS DATE) AS e", asked, form = "json")
  expect_equal(rows$a, sly)
  expect_equal(rows$b, 7)
  expect_true(is.na(rows$c))
  expect_true(rows$d)
  expect_equal(rows$e, as.Date("2024-02-29"))
})

test_that("numbers that R cannot hold are not rounded in silence", {
  expect_warning(rows <- hambar_sql(served(), "SELECT 9223372036854775807 AS n", form = "json"), "cannot hold")
  expect_equal(rows$n, "9223372036854775807")
})

test_that("an answer is cited with version and licence", {
  rows <- hambar_sql(served(), "SELECT * FROM demo.electricity", limit = 1, form = "json")
  expect_match(hambar_cite(rows), "Table demo.electricity, version [0-9]+\\. Licence: CC-BY-4.0\\.")
  expect_error(hambar_cite(hambar_sql(served(), "SELECT 1 AS one", form = "json")), "nothing to cite")
  expect_error(hambar_cite(data.frame()), "do not come from")
})

test_that("tables are listed", {
  tables <- hambar_tables(served())
  expect_true("demo.electricity" %in% tables$table)
  expect_equal(tables$licence[tables$table == "demo.electricity"], "CC-BY-4.0")
})

test_that("nothing is cut off in silence", {
  many <- "SELECT a.year FROM demo.electricity a CROSS JOIN demo.electricity b CROSS JOIN demo.electricity c"
  expect_error(hambar_sql(served(), many, form = "json"), class = "hambar_truncated")
  expect_equal(nrow(hambar_sql(served(), many, limit = 10, form = "json")), 10)
})

test_that("problems are conditions of their class", {
  wrong <- expect_error(hambar_sql(served(), "SELECT nothing FROM demo.electricity"), class = "hambar_query")
  expect_match(conditionMessage(wrong), "`nothing` does not exist")
  expect_error(hambar_sql(served(), "DROP TABLE demo.electricity"), class = "hambar_denied")
  expect_error(hambar_tables(hambar_connect(Sys.getenv("HAMBAR_TEST_URL"), "hbr_wrong")), class = "hambar_denied")
  expect_error(hambar_tables(hambar_connect("http://127.0.0.1:9")), class = "hambar_unreachable")
})
