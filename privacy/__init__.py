"""Distilled data with differential privacy: a private signal with its ledger, an accountant, the card, and audits.

```python
run = make_private(
    recipe, real, public_class_size=6_000, public_normalisation=True, target_epsilon=10, delta=1e-5, seed=0
)
synthetic = run.condense()
card = privacy_card(run)
```
"""

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
