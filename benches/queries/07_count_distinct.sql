SELECT count(DISTINCT entity) AS entities, count(DISTINCT variable) AS variables, count(DISTINCT value) AS values FROM bench.observations
