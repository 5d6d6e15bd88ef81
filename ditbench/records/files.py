"""The names of the files that runs leave, by which readers tell records from what lies beside them."""

from __future__ import annotations

FILE_NAME = "record.json"
WEIGHTS_FILE, RAW_WEIGHTS_FILE = "ema.safetensors", "raw.safetensors"
SAMPLES_FILE, GRID_FILE, MILESTONES_FILE = "samples.npz", "samples.png", "milestones.json"
PROFILE_SUFFIX = ".profile.json"  # what `profile.py` writes, which may lie among records
EVALUATION_SUFFIX = ".evaluation.json"  # what `evaluation.py` writes, likewise
VERIFICATION_SUFFIXES = (".re-evaluated.json", ".re-trained.json")  # what `verification.py` writes, likewise
NO_RECORDS = (PROFILE_SUFFIX, EVALUATION_SUFFIX, *VERIFICATION_SUFFIXES, MILESTONES_FILE, ".partial.json")  # endings
