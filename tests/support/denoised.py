"""Denoising errors made by hand."""

import math

from ditbench.records.denoising import LEVELS, LOG_SNRS, Denoising, ErrorCurve, ErrorPoint

SETS = [("ema", "held-out"), ("ema", "training"), ("raw", "held-out"), ("raw", "training")]


def denoising(scale, shares=(0.5, 1.0), standard_error=0.01):
    """Of a network whose weighed error is `scale` at every level, or at each one of a list."""
    scales = scale if isinstance(scale, list) else [scale] * LEVELS
    level = [one / (1 + math.exp(log_snr)) for one, log_snr in zip(scales, LOG_SNRS, strict=True)]
    curves = [
        ErrorCurve(weights=w, images=i, errors=[e * (1 + n) for e in level], standard_errors=[standard_error] * LEVELS)
        for n, (w, i) in enumerate(SETS)
    ]
    points = [
        ErrorPoint(at=at, steps=int(10 * at), images=int(100 * at), seconds=at, flops=1e9 * at, errors=level)
        for at in shares
    ]
    return Denoising(images=256, labelled=True, curves=curves, seconds=1.0, points=points, points_images=48)
