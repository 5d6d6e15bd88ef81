"""Records that are not believed: their form, and every number that follows from others, computed again."""
