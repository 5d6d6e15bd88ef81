"""``python -m ditbench.cli``."""

from . import main

main()
