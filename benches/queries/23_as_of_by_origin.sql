SELECT origin, count(*) AS n, sum(delay) AS total FROM bench.delays FOR SYSTEM_TIME AS OF '2024-01-15' GROUP BY origin ORDER BY origin
