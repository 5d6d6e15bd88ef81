"""The command line, which alone prints, exits or imports late."""

import signal
import sys

import typer

from ..errors import DitbenchError
from ..runtime.inheritance import clean
