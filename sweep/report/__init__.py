"""What people read: a table in the terminal and a page of cards. Knows neither torch nor Ray."""
