"""What is to be run: tracks, budgets, and the plan that a command makes of them."""
