SELECT date_trunc('day', date) AS day, count(*) AS n FROM bench.flights WHERE delay > 60 GROUP BY 1 ORDER BY 1
