"""Records to leaderboards: statistics, tables, pages."""
