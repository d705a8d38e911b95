SELECT dataset, count(*) AS n, sum(TRY_CAST(value AS DOUBLE)) AS total FROM bench.observations GROUP BY dataset ORDER BY n DESC, dataset
