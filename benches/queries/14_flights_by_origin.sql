SELECT origin, count(*) AS n, sum(delay) AS total, avg(distance) AS mean FROM bench.flights GROUP BY origin ORDER BY n DESC, origin
