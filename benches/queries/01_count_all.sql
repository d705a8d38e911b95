SELECT count(*) AS n FROM bench.observations
