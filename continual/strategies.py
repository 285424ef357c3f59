"""The Avalanche strategies offered by name; in a script, any strategy that takes plugins will do."""

import functools
from collections.abc import Callable

from avalanche.training.supervised import EWC, LwF, Naive
from avalanche.training.templates import SupervisedTemplate

NewStrategy = Callable[..., SupervisedTemplate]
"""An Avalanche strategy class, or a `functools.partial` of one that fixes its own values; it is called with the keywords
`model`, `optimizer`, `criterion`, `train_mb_size`, `train_epochs`, `eval_mb_size`, `device`, `plugins` and `evaluator`."""

STRATEGIES: dict[str, NewStrategy] = {
    "ewc": functools.partial(EWC, ewc_lambda=1.0),
    "lwf": functools.partial(LwF, alpha=1.0, temperature=2.0),
    "naive": Naive,
}
"""EWC (arXiv 1612.00796) and LwF (arXiv 1606.09282) add their penalty to replay; `naive` adds none. The penalties' weights
are middling values, not tuned ones."""


def find_strategy(name: str) -> NewStrategy:
    """The strategy called `name`; `ValueError` listing the known ones where there is none."""
    if name not in STRATEGIES:
        raise ValueError(f"no strategy is called {name!r}; known: {', '.join(STRATEGIES)}")
    return STRATEGIES[name]
