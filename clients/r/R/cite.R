# How to cite what was read.

#' Cite the tables behind an answer
#'
#' @param rows What [hambar_sql()] returned.
#' @return A text: for each table its citation, the version that was read and its licence; then when it was retrieved from where.
#' @export
hambar_cite <- function(rows) {
  sources <- attr(rows, "hambar_sources")
  if (is.null(sources)) stop("these rows do not come from `hambar_sql`, or lost their attributes", call. = FALSE)
  if (nrow(sources) == 0) stop("the answer was made without any table, so there is nothing to cite", call. = FALSE)
  sentence <- ifelse(is.na(sources$citation), paste("Table", sources$table), sub("\\.$", "", sources$citation))
  licence <- ifelse(is.na(sources$licence), "", paste0(" Licence: ", sources$licence, "."))
  page <- ifelse(is.na(sources$landing_page), "", paste0(" ", sources$landing_page))
  lines <- paste0(sentence, ". Table ", sources$table, ", version ", sources$version, ".", licence, page)
  paste(c(lines, paste0("Retrieved ", attr(rows, "hambar_retrieved"), ".")), collapse = "\n")
}
