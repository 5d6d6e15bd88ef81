"""One run, from its parts to its record: train, sample, measure."""
