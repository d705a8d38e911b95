SELECT count(*) AS n, min(year) AS first, max(year) AS last FROM bench.observations WHERE entity = 'Bulgaria'
