"""What a metric's number depends on beside images and features, fixed for all; and the full name that says the rest."""

from __future__ import annotations

SEED = 2020  # every random subset or split is drawn from this
KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000  # torch-fidelity's defaults, as the next two
IS_SPLITS = 10
NEIGHBOURS = 3
MEMORISED_QUANTILE, CALIBRATED_ON = 0.01, 1000  # of held-out images' closeness, and of how many of them at most
TRACKED: dict[str, float] = {  # when a tracker takes a clip for one digit that moves straight
    "threshold": 32,  # of 255: what is darker is no light
    "one": 0.95,  # of a frame's light: in one thing, at least
    "mass": 0.15,  # of the mean light: by which frames may differ
    "pixels": 0.25,  # that the centre of light may be off the path
}
JACKKNIFE_PARTS, MIN_JACKKNIFED = 10, 20
FLOOR_SPLITS = 5
KEPT = 50_000  # images of a larger reference whose own features are kept; the moments are over all of them
RAW_PIXELS = "raw-pixels"  # in place of an extractor's name


def protocol(metric: str, samples: int, features: str, marks: str = "") -> str:
    """A metric's full name: ``protocol("fid", 50_000, "x") == "fid50k/x"``."""
    count = f"{samples // 1000}k" if samples % 1000 == 0 else str(samples)
    return f"{metric}{count}{marks}/{features}"
