"""A denoiser trained: objective, optimiser, loop, checkpoints."""
