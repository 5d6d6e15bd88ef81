"""From a trained denoiser to images: samplers, guidance, labels, streams of noise."""
