SELECT count(*) AS n FROM (SELECT DISTINCT dataset, variable FROM bench.observations) t
