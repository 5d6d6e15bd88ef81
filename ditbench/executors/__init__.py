"""Runs as jobs: where they are carried out, and who hears of them."""
