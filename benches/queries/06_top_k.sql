SELECT dataset, variable, entity, year, TRY_CAST(value AS DOUBLE) AS v FROM bench.observations ORDER BY v DESC NULLS LAST, dataset, variable, entity, year LIMIT 20
