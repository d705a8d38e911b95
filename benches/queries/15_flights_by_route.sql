SELECT origin, destination, count(*) AS n, avg(delay) AS mean FROM bench.flights GROUP BY 1, 2 ORDER BY n DESC, 1, 2 LIMIT 20
