SELECT year, avg(TRY_CAST(value AS DOUBLE)) AS mean, count(*) AS n FROM bench.observations WHERE TRY_CAST(year AS INTEGER) >= 1960 GROUP BY year ORDER BY year
