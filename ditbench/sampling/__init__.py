"""From a denoiser to images: samplers, guidance, noise."""
