"""Time, memory and energy: measured, shown, and foretold."""
