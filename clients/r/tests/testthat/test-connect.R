# What needs no server: addresses, and a token that is never shown.

test_that("a token is not shown and not sent in the clear", {
  connection <- hambar_connect("http://127.0.0.1:8080/", "hbr_not-to-be-shown")
  shown <- c(capture.output(print(connection)), capture.output(str(connection)), format(connection))
  expect_false(any(grepl("not-to-be-shown", shown)))
  expect_error(hambar_connect("http://data.example.org", "hbr_x"), "in the clear")
  expect_s3_class(hambar_connect("https://data.example.org", "hbr_x"), "hambar_connection")
})

test_that("addresses and tokens that are none are refused", {
  expect_error(hambar_connect("ftp://host"), "begins with")
  expect_error(hambar_connect("https://user:secret@host"), "neither user")
  expect_error(hambar_connect("https://host", "two words"), "no token has")
  expect_error(hambar_connect("https://host", ""), "no token has")
})
