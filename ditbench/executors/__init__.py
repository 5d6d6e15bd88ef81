"""Runs as jobs: where they are carried out, who hears of them."""
