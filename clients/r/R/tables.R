# What there is on a server.

#' List the tables of a server
#'
#' @param connection What [hambar_connect()] returned.
#' @return A data frame with one row for each table that exists for you: its name, title, provider, licence and more.
#' @export
hambar_tables <- function(connection) {
  response <- send(connection, "/api/tables", "application/json")
  listed <- jsonlite::fromJSON(httr2::resp_body_string(response, encoding = "UTF-8"), simplifyVector = FALSE)
  text <- function(field) {
    vapply(listed, function(entry) if (is.null(entry[[field]])) NA_character_ else as.character(entry[[field]]), "")
  }
  fields <- c("table", "title", "description", "provider", "citation", "landing_page", "licence")
  columns <- lapply(fields, text)
  names(columns) <- fields
  columns$may_be_passed_on <- vapply(listed, function(entry) isTRUE(entry$may_be_passed_on), TRUE)
  as.data.frame(columns, stringsAsFactors = FALSE)
}
