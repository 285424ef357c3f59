"""The command line; imported by nothing else."""

import os

os.environ.setdefault("TYPER_USE_RICH", "0")
"""Help as plain text: rich's tables cut names short that have to be typed, in a terminal of 80 columns."""
