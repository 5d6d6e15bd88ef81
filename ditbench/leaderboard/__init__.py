"""Records to leaderboards: statistics, tables, pages. Every number is a view of records; nothing here imports torch."""
