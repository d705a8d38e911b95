SELECT count(*) AS n, sum(delay) AS total, max(delay) AS worst FROM bench.delays FOR SYSTEM_TIME AS OF '2024-01-15'
