SELECT dataset, count(*) AS n FROM bench.observations WHERE variable LIKE '%GDP%' GROUP BY dataset ORDER BY n DESC, dataset
