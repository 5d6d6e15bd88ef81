"""``python -m ditbench``."""

from .cli import main

main()
