# Questions: a statement in, a data frame out, with its sources.

#' Ask with SQL
#'
#' With the package arrow, rows come as an Arrow stream; without it as JSON with the types of the columns, which is slower. CSV is
#' not used, since it would have to be guessed there what is a number and what a code.
#'
#' @param connection What [hambar_connect()] returned.
#' @param query The statement.
#' @param params Values of `$1`, `$2` …: a list of texts, numbers, dates, `TRUE`, `FALSE` and `NA`.
#' @param limit Rows at most. Where the server cuts rows off of its own accord, that is an error of class `hambar_truncated`.
#' @param form `"arrow"`, `"json"`, or `"auto"` for Arrow where it is installed.
#' @return A data frame. The attributes `hambar_sources` (a data frame of tables, versions, citations and licences), `hambar_query` and
#'   `hambar_retrieved` say what it is made from; [hambar_cite()] reads them.
#' @export
hambar_sql <- function(connection, query, params = list(), limit = NULL, form = c("auto", "arrow", "json")) {
  form <- match.arg(form)
  has_arrow <- requireNamespace("arrow", quietly = TRUE)
  if (form == "arrow" && !has_arrow) stop("the package arrow is not installed", call. = FALSE)
  if (form == "auto") form <- if (has_arrow) "arrow" else "json"
  asked <- list(sql = jsonlite::unbox(query), params = lapply(unname(as.list(params)), sent))
  if (!is.null(limit)) {
    if (!is.numeric(limit) || length(limit) != 1 || is.na(limit) || limit < 1 || limit != floor(limit)) {
      stop("`limit` is a whole number from 1", call. = FALSE)
    }
    asked$limits <- list(rows = jsonlite::unbox(limit))
  }
  body <- jsonlite::toJSON(asked, digits = NA, null = "null")
  accept <- c(arrow = "application/vnd.apache.arrow.stream", json = "application/json")[[form]]
  response <- send(connection, "/api/sql", accept, body)
  answer <- if (form == "arrow") from_arrow(response) else from_json(response)
  is_own <- !is.null(limit) && nrow(answer$rows) == limit
  if (answer$is_truncated && !is_own) {
    raise("truncated", paste("a limit of the server cut the answer off after", nrow(answer$rows), "rows: ask for less, or set `limit`"))
  }
  rows <- answer$rows
  attr(rows, "hambar_sources") <- answer$sources
  attr(rows, "hambar_query") <- query
  attr(rows, "hambar_retrieved") <- paste(format(Sys.time(), "%Y-%m-%d %H:%M UTC", tz = "UTC"), "from", connection$url)
  rows
}

# A parameter as it is sent.
sent <- function(value) {
  if (length(value) != 1 || !(is.atomic(value) || inherits(value, c("Date", "POSIXct")))) {
    stop("each parameter is one value", call. = FALSE)
  }
  if (is.na(value)) return(NULL)
  if (inherits(value, "POSIXct")) value <- format(value, "%Y-%m-%dT%H:%M:%OS6Z", tz = "UTC")
  if (inherits(value, "Date") || is.factor(value)) value <- as.character(value)
  if (is.numeric(value) && !is.finite(value)) stop("a parameter is not finite", call. = FALSE)
  jsonlite::unbox(value)
}

from_arrow <- function(response) {
  table <- arrow::read_ipc_stream(httr2::resp_body_raw(response), as_data_frame = FALSE)
  sources <- jsonlite::fromJSON(first_of(table$metadata[["hambar.sources"]], "[]"))
  list(
    rows = as.data.frame(table),
    sources = sources_of(sources),
    is_truncated = httr2::resp_status(response) == 206
  )
}

from_json <- function(response) {
  text <- httr2::resp_body_string(response, encoding = "UTF-8")
  answer <- tryCatch(jsonlite::fromJSON(text, bigint_as_char = TRUE), error = function(failure) {
    raise("unexpected", "the answer is no JSON, or broke off")
  })
  count <- answer$row_count
  columns <- lapply(seq_len(nrow(answer$columns)), function(place) {
    name <- answer$columns$name[[place]]
    value <- if (count == 0) logical(0) else answer$rows[[name]]
    # A column that is NULL in every row is not in the data frame that jsonlite makes.
    if (is.null(value)) value <- rep(NA, count)
    typed(value, answer$columns$type[[place]], name)
  })
  names(columns) <- answer$columns$name
  rows <- structure(columns, class = "data.frame", row.names = .set_row_names(count))
  list(rows = rows, sources = sources_of(answer$sources), is_truncated = !is.null(answer$truncated))
}

# A column in R's type for the server's one.
typed <- function(value, type, name) {
  if (grepl("^(U?Int(8|16|32)|UInt64|Int64)$", type)) return(whole(value, type, name))
  if (grepl("^(Float|Decimal)", type)) return(as.numeric(value))
  if (type == "Boolean") return(as.logical(value))
  if (grepl("^Date", type)) return(as.Date(as.character(value)))
  if (grepl("^Timestamp", type)) {
    return(as.POSIXct(sub("Z$", "", as.character(value)), format = "%Y-%m-%dT%H:%M:%OS", tz = "UTC"))
  }
  if (grepl("Utf8", type)) return(as.character(value))
  value
}

whole <- function(value, type, name) {
  if (is.character(value)) {
    warning("column `", name, "` has whole numbers that R's numbers cannot hold: they are texts", call. = FALSE)
    return(value)
  }
  if (grepl("^(Int(8|16|32)|UInt(8|16))$", type)) as.integer(value) else as.numeric(value)
}

sources_of <- function(sources) {
  fields <- c("table", "version", "citation", "licence", "landing_page")
  if (!is.data.frame(sources)) sources <- data.frame(table = character(0))
  for (field in setdiff(fields, names(sources))) sources[[field]] <- rep(NA_character_, nrow(sources))
  sources[fields]
}

first_of <- function(value, otherwise) if (is.null(value)) otherwise else value
