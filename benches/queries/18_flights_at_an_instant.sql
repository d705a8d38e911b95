SELECT count(*) AS n, sum(distance) AS total FROM bench.flights WHERE date = TIMESTAMP '2001-03-04 10:15:00'
