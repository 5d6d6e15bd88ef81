"""The denoiser's contract as named checks, each with what was expected, what was seen and how to mend it."""
