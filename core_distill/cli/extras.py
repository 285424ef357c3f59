"""What to install when a part of the suite is missing."""

_EXTRAS = {
    "adjustText": "benchmark",
    "avalanche": "continual",
    "datasets": "federated",
    "dp_accounting": "privacy",
    "flwr": "federated",
    "flwr_datasets": "federated",
    "matplotlib": "benchmark",
    "ray": "cluster",
}
"""Third-party modules an extra installs, and the extra."""


def install_hint(error: Exception) -> str | None:
    """The command that installs what is missing, or None where the error is another one.

    A missing part of an installed module, such as `avalanche.no_such_part`, is a mistake and not a missing extra.
    """
    if isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
        return f'{error.name} is not installed; run: pip install "stillroom[{_EXTRAS[error.name]}]"'
    return None
