"""What the tables say: fronts over configs, hypervolume, picks, breakdowns. Knows neither torch nor Ray."""
