# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Two architectures on real digits
#
# Trains DiT and U-ViT on the same handwritten digits with the same recipe, compares them, and shows what they draw, in
# minutes on two CPU cores. Open it with `jupytext --to notebook examples/two_architectures.py`, or as a script.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import HTML, display
from PIL import Image

import ditbench

# %% tags=["parameters"]
ARCHITECTURES = ["dit", "uvit"]
BUDGET = "short"
SAMPLES = None  # as many images as the track says
OUT = Path("runs")

# %% [markdown]
# Runs that are finished are not run again, so this cell is free the second time.

# %%
records = ditbench.run(
    track="digits", architectures=ARCHITECTURES, budget=BUDGET, samples=SAMPLES, eval_at=[0.25, 0.5], out=OUT
)

# %% [markdown]
# ## The board
#
# One seed gives no rank: the ten of `seeds=list(range(10))` do.

# %%
for title, table in ditbench.tables(records).items():
    known = table.dropna(axis="columns", how="all")
    display(title, HTML(known.to_html(index=False, na_rep="", float_format="{:,.5g}".format)))

# %% [markdown]
# ## Their curves
#
# Loss along the way, and FID at a quarter, half and all of the budget.

# %%
figure, (losses, quality) = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
for record in records:
    curve = pd.DataFrame(point.model_dump() for point in record.training.curve)
    losses.plot(curve.images, curve.loss, label=record.architecture.label)
    images = [milestone.images for milestone in record.milestones] + [record.training.images]
    fids = [milestone.metrics[0].value for milestone in record.milestones] + [record.metrics[0].value]
    quality.plot(images, fids, marker="o", label=record.architecture.label)
losses.set(xlabel="training images", ylabel="loss", yscale="log")
quality.set(xlabel="training images", ylabel=records[0].metrics[0].protocol, yscale="log")
losses.legend()
plt.show()

# %% [markdown]
# ## What they draw
#
# A row of samples for each digit.

# %%
figure, places = plt.subplots(1, len(records), figsize=(10, 5), layout="constrained")
for place, record in zip(places, records, strict=True):
    place.imshow(Image.open(OUT / record.track.name / record.run_id / "samples.png"))
    place.set(title=record.architecture.label)
    place.axis("off")
plt.show()
