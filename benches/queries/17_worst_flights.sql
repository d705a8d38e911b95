SELECT date, origin, destination, delay FROM bench.flights ORDER BY delay DESC, date, origin, destination LIMIT 20
