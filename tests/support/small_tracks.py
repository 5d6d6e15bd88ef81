"""The tiny track on data of a test's own."""

import json
import re
from pathlib import Path

TINY = (Path(__file__).parents[1] / "tiny.toml").read_text()


def track(folder, name, space="pixel", steps="3-steps", head="", **data):
    """The tiny track on other data, as a file of the user's; head: lines before its tables."""
    table = "".join(f"{key} = {json.dumps(value)}\n" for key, value in data.items())
    text = re.sub(r"\[data\].*?\n\n", lambda _: f"[data]\n{table}\n", TINY, flags=re.DOTALL)
    text = text.replace('name = "tiny"', f'name = "{name}"', 1).replace('"40-steps"', f'"{steps}"')
    text = text.replace('space = "pixel"', f'space = "{space}"').replace('"digits-cnn"', '"efficientnet-lite0"')
    text = text.replace('"fid", "kid", "is", "knn"]', '"kid", "is"]').replace("samples = 40", "samples = 20")
    (folder / f"{name}.toml").write_text(f"{head}\n{text}")
    return str(folder / f"{name}.toml")
