SELECT dataset, variable, entity, count(*) AS n FROM bench.observations GROUP BY 1, 2, 3 ORDER BY n DESC, 1, 2, 3 LIMIT 10
