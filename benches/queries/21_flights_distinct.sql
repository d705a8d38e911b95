SELECT count(DISTINCT destination) AS destinations, count(DISTINCT date) AS minutes, count(DISTINCT distance) AS distances FROM bench.flights
