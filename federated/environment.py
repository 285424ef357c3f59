"""What Flower and Ray are told through environment variables: nothing leaves the machine that was not asked for."""

import os

DEFAULTS = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray hides the accelerators from workers that asked for none, and warns that it will stop doing so.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Set where the user has not set them. Flower reads its own when it is first imported."""


def set_defaults() -> None:
    """Put `DEFAULTS` into the environment of this process and its children; a value that is there already stays."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
