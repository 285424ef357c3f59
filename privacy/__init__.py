"""Distilled data with differential privacy: a private signal with its ledger, an accountant, the card, and audits.

```python
run = make_private(
    recipe, real, public_class_size=6_000, public_normalisation=True, target_epsilon=10, delta=1e-5, seed=0
)
synthetic = run.condense()
card = privacy_card(run)
```

Importing this package loads nothing else; the first use of a name does.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from privacy.accounting import Release, calibrate_noise, cross_check, rdp_epsilon
    from privacy.audit import AuditReport, audit_distillation
    from privacy.bounds import clopper_pearson_lower_bound, epsilon_lower_bound, max_attainable
    from privacy.canaries import feature_score, loss_score, nearest_image_score
    from privacy.card import describe_card, no_guarantee, privacy_card
    from privacy.data import PrivateData
    from privacy.ledger import Ledger, admit
    from privacy.run import PrivateRun, make_private
    from privacy.secret import SecretSeed
    from privacy.signal import PrivateSignal

_HOMES = {
    "AuditReport": "audit",
    "Ledger": "ledger",
    "PrivateData": "data",
    "PrivateRun": "run",
    "PrivateSignal": "signal",
    "Release": "accounting",
    "SecretSeed": "secret",
    "admit": "ledger",
    "audit_distillation": "audit",
    "calibrate_noise": "accounting",
    "clopper_pearson_lower_bound": "bounds",
    "cross_check": "accounting",
    "describe_card": "card",
    "epsilon_lower_bound": "bounds",
    "feature_score": "canaries",
    "loss_score": "canaries",
    "make_private": "run",
    "max_attainable": "bounds",
    "nearest_image_score": "canaries",
    "no_guarantee": "card",
    "privacy_card": "card",
    "rdp_epsilon": "accounting",
}

__all__ = [
    "AuditReport",
    "Ledger",
    "PrivateData",
    "PrivateRun",
    "PrivateSignal",
    "Release",
    "SecretSeed",
    "admit",
    "audit_distillation",
    "calibrate_noise",
    "clopper_pearson_lower_bound",
    "cross_check",
    "describe_card",
    "epsilon_lower_bound",
    "feature_score",
    "loss_score",
    "make_private",
    "max_attainable",
    "nearest_image_score",
    "no_guarantee",
    "privacy_card",
    "rdp_epsilon",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
