SELECT id, origin, destination, delay FROM bench.delays WHERE id = 1234567
