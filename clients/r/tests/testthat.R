library(testthat)
library(hambar)

test_check("hambar")
