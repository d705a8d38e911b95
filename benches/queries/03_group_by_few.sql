SELECT substr(year, 1, 3) AS decade, count(*) AS n FROM bench.observations GROUP BY 1 ORDER BY 1
