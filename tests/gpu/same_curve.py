"""Whether runs in several folders have the same loss curve: python same_curve.py FOLDER FOLDER... A GPU may round."""

import json
import sys
from math import isclose
from pathlib import Path


def curve(folder):
    """The losses of the one run below a folder."""
    (path,) = Path(folder).glob("*/*/record.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    return [point["loss"] for point in (record["training"] or {"curve": []})["curve"]]


def main(folders):
    first, *others = [(folder, curve(folder)) for folder in folders]
    for folder, losses in others:
        same = len(losses) == len(first[1]) > 0 and all(
            isclose(one, other, rel_tol=1e-3) for one, other in zip(first[1], losses, strict=True)
        )
        print(f"{folder}: {'the same curve as' if same else 'another curve than'} {first[0]}: {losses}")
        if not same:
            sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
