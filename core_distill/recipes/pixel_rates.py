"""Published rates are for pixels from 0 to 1, ours for normalised ones, which lie `1 / std` times as far apart."""

_STD = {
    "cifar10": 0.2009,
    "cifar100": 0.2666,
    "digits": 0.3081,
    "fashion-mnist": 0.3530,
    "mnist": 0.3081,
    "svhn": 0.1987,
}
"""Of the real pixels from 0 to 1; digits go as MNIST, what is not known here as CIFAR-10."""


def sgd_rate(rate: float, data: str) -> float:
    """A rate of SGD for normalised pixels, to three digits: the gradient and the way it goes both change by `std`."""
    return _short(rate / _std(data) ** 2)


def adam_rate(rate: float, data: str) -> float:
    """A rate of Adam for normalised pixels, to three digits: its steps do not depend on the size of the gradient."""
    return _short(rate / _std(data))


def _std(data: str) -> float:
    return _STD.get(data, _STD["cifar10"])


def _short(rate: float) -> float:
    return float(f"{rate:.3g}")
