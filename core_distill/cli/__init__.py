"""The command line; imported by nothing else."""

import os

os.environ.setdefault("TYPER_USE_RICH", "0")
"""Help as plain text: rich's tables cut names short that have to be typed, in a terminal of 80 columns."""

import typer.core  # noqa: E402  (it reads the above, from 0.21 on)

typer.core.HAS_RICH = False
"""For typer before that, which else puts a backslash before every [default]."""
