"""Draw the picture that other sites show beside a link to the leaderboard: uv run python docs/social.py

No number is in it, so that it stays true when records are added.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

TARGET = Path(__file__).parents[1] / "ditbench/leaderboard/site/static/social.png"
INK, PAPER, RULE = "#1d1c1a", "#fffefb", "#dedad1"
COLOURS = ("#1d2998", "#b97804", "#1b97a8", "#bd5ff2")  # of the site's marks
MARKERS = "osD^"


def draw() -> plt.Figure:
    """The title, and curves that fall as learning curves do."""
    figure = plt.figure(figsize=(12, 6.3), dpi=100, facecolor=PAPER)
    figure.text(0.06, 0.66, "ditbench", fontsize=72, fontweight="bold", color=INK, family="DejaVu Serif")
    figure.text(0.06, 0.54, "Diffusion transformers", fontsize=29, color=INK, family="DejaVu Serif")
    figure.text(0.06, 0.45, "at equal cost", fontsize=29, color=INK, family="DejaVu Serif")
    figure.text(0.06, 0.27, "same data, same recipe,\nsame budget, several seeds", fontsize=20, color="#5f5b54")
    axes = figure.add_axes((0.6, 0.14, 0.35, 0.72), facecolor=PAPER)
    at = np.linspace(0, 1, 6)
    for place, (colour, marker) in enumerate(zip(COLOURS, MARKERS, strict=True)):
        axes.plot(at, 1.2 * np.exp(-(4 - 0.75 * place) * at) + 0.08 * place, color=colour, marker=marker, lw=4, ms=12)
    axes.set(xticks=[], yticks=[])
    for side, spine in axes.spines.items():
        spine.set(visible=side in ("left", "bottom"), color=RULE, linewidth=3)
    return figure


def main() -> None:
    """Write it, with as few colours as it needs."""
    figure = draw()
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    Image.fromarray(pixels).quantize(64, dither=Image.Dither.NONE).save(TARGET, optimize=True)
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
