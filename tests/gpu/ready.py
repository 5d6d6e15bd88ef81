"""Whether there is all that the acceptance run needs: python ready.py [FOLDER]

FOLDER has Fashion-MNIST's files; empty: they lie where ditbench finds them. What is missing is told in one line.
"""

import sys

import torch

from ditbench.datasets.examples import Request
from ditbench.datasets.fashion import load_fashion_mnist
from ditbench.errors import DitbenchError


def main(fashion=None):
    try:
        torch.cuda.init()
    except (AssertionError, RuntimeError) as error:  # a torch without CUDA, a machine without
        sys.exit(f"torch {torch.__version__} finds no CUDA device: {str(error).splitlines()[0]}")
    if fashion is not None:
        try:
            load_fashion_mnist(Request(resolution=32, place=fashion))
        except DitbenchError as error:
            sys.exit(f"--fashion {fashion!r}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
