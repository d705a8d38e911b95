# The connection to a server: its address, and a token that is never printed.

#' Connect to a Hambar server
#'
#' Nothing is sent before the first question.
#'
#' @param url Address of the server. Plain `http://` is for servers on this machine.
#' @param token Token that begins with `hbr_`; without one, only what is public can be read.
#' @param timeout Seconds that an answer may take.
#' @param allow_plaintext Whether a token may go to another machine over plain HTTP.
#' @return A connection for [hambar_sql()] and [hambar_tables()].
#' @export
hambar_connect <- function(url, token = NULL, timeout = 120, allow_plaintext = FALSE) {
  parts <- httr2::url_parse(url)
  if (!isTRUE(parts$scheme %in% c("http", "https")) || is.null(parts$hostname)) {
    stop("the address of a server begins with `https://` or, on this machine, with `http://`", call. = FALSE)
  }
  if (!is.null(parts$username) || !is.null(parts$password) || length(parts$query) > 0) {
    stop("the address of a server has neither user nor query: pass the token as `token`", call. = FALSE)
  }
  if (!is.null(token)) {
    if (!is.character(token) || length(token) != 1 || is.na(token) || !grepl("^[!-~]+$", token)) {
      stop("the token is empty or has characters that no token has", call. = FALSE)
    }
    is_local <- parts$hostname %in% c("localhost", "127.0.0.1", "::1", "[::1]")
    if (parts$scheme == "http" && !is_local && !allow_plaintext) {
      stop("a token would be sent in the clear: use `https://`", call. = FALSE)
    }
  }
  # In a function, so that neither `print` nor `str` shows it.
  connection <- list(url = sub("/+$", "", url), timeout = timeout, secret = function() token)
  structure(connection, class = "hambar_connection")
}

#' @export
print.hambar_connection <- function(x, ...) {
  cat("<hambar connection to ", x$url, ">\n", sep = "")
  invisible(x)
}

# Sends a request and returns its answer; problems become conditions of class `hambar_<class>`.
send <- function(connection, path, accept, body = NULL) {
  request <- httr2::request(paste0(connection$url, path))
  request <- httr2::req_headers(request, Accept = accept)
  request <- httr2::req_user_agent(request, "hambar-r/0.1.0")
  request <- httr2::req_timeout(request, connection$timeout)
  # A redirect would take the token along.
  request <- httr2::req_options(request, followlocation = 0L)
  # Asked again only where the server is busy (429, 503), after the time that it names.
  request <- httr2::req_retry(request, max_tries = 4)
  request <- httr2::req_error(request, is_error = function(response) FALSE)
  token <- connection$secret()
  if (!is.null(token)) request <- httr2::req_auth_bearer_token(request, token)
  if (!is.null(body)) request <- httr2::req_body_raw(request, charToRaw(enc2utf8(body)), type = "application/json")
  response <- tryCatch(httr2::req_perform(request), error = function(failure) {
    cause <- if (is.null(failure$parent)) failure else failure$parent
    raise("unreachable", paste0("the server cannot be reached, or its answer broke off: ", conditionMessage(cause)))
  })
  status <- httr2::resp_status(response)
  if (status >= 400) fail(response, status)
  if (status >= 300) raise("unexpected", paste("the server sent us on, which is not followed: status", status))
  response
}

# Turns a problem (RFC 9457) into a condition.
fail <- function(response, status) {
  problem <- NULL
  if (isTRUE(httr2::resp_content_type(response) == "application/problem+json")) {
    problem <- jsonlite::fromJSON(httr2::resp_body_string(response))
  }
  if (is.null(problem$detail)) raise("unexpected", paste("the server answered with status", status))
  hint <- if (is.null(problem$hint)) "" else paste0("\nhint: ", problem$hint)
  raise(problem$class, paste0(problem$detail, hint), status = status, position = problem$position)
}

raise <- function(class, message, ...) {
  classes <- c(paste0("hambar_", class), "hambar_error", "error", "condition")
  stop(structure(class = classes, list(message = message, call = NULL, ...)))
}
