SELECT * FROM bench.observations WHERE dataset = 'Maddison Project Database 2020 (Bolt and van Zanden (2020))' AND variable = 'GDP per capita' AND entity = 'Bulgaria' AND year = '1990'
