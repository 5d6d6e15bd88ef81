"""What pyproject.toml asks for, by extra, and what Python calls it."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
_CALLED = {  # distribution -> its module, where a dash is not all that differs
    "markdown-it-py": "markdown_it",
    "nvidia-ml-py": "pynvml",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
}


def names(requirements):
    """The distributions that are asked for."""
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def modules(requirements):
    """Their modules."""
    return {_CALLED.get(name, name.replace("-", "_")) for name in names(requirements)}
