"""What papers report for their full schedules on GPUs, in percent of test accuracy, with how far a number can be trusted."""

from typing import NamedTuple


class Published(NamedTuple):
    """Percent for 1, 10 and 50 images a class (None where we know of none).

    `checked`: read in the released code's documentation; otherwise as later papers and memory have it, not checked.
    """

    by_budget: tuple[float | None, float | None, float | None]
    checked: bool = False

    def at(self, images_per_class: int) -> float | None:
        """The percentage for a published budget; None for others."""
        return dict(zip((1, 10, 50), self.by_budget, strict=True)).get(images_per_class)


PUBLISHED: dict[str, dict[str, Published]] = {
    "mnist": {
        "cafe": Published((93.1, 97.2, 98.6)),
        "dc": Published((91.7, 97.4, 98.8), checked=True),
        "dd": Published((None, 79.5, None)),
        "dm": Published((89.7, 97.5, 98.6)),
        "dream": Published((95.7, 98.6, 99.2)),
        "dsa": Published((88.7, 97.8, 99.2), checked=True),
        "frepo": Published((93.0, 98.6, 99.2)),
        "idc": Published((94.2, 98.4, 99.1), checked=True),
        "idc-i": Published((88.9, 98.0, 98.8), checked=True),
        "kip-conv": Published((90.1, 97.5, 98.3)),
        "ld": Published((60.9, 87.3, 93.3)),
        "linba": Published((98.7, 99.3, 99.4)),
        "rcig": Published((94.7, 98.9, 99.2)),
        "rfad": Published((94.4, 98.5, 98.8)),
    },
    "fashion-mnist": {
        "cafe": Published((77.1, 83.0, 84.8)),
        "dc": Published((70.5, 82.3, 83.6), checked=True),
        "dm": Published((70.7, 83.5, 88.1)),
        "dream": Published((81.3, 86.4, 86.8)),
        "dsa": Published((70.6, 84.6, 88.7), checked=True),
        "frepo": Published((75.6, 86.2, 89.6)),
        "idc": Published((81.0, 86.0, 86.2), checked=True),
        "idc-i": Published((70.7, 85.3, 89.1), checked=True),
        "kip-conv": Published((73.5, 86.8, 88.0)),
        "linba": Published((88.5, 90.0, 91.2)),
        "rcig": Published((79.8, 88.5, 90.2)),
        "rfad": Published((78.6, 87.0, 88.8)),
    },
    "cifar10": {
        "acc-dd": Published((49.2, 67.1, 73.8)),
        "cafe": Published((30.3, 46.3, 55.5)),
        "datm": Published((46.9, 66.8, 76.1)),
        "dc": Published((28.3, 44.9, 53.9), checked=True),
        "dd": Published((None, 36.8, None)),
        "dcc": Published((32.9, 49.4, 61.6)),
        "dsac": Published((34.0, 54.5, 64.2)),
        "dm": Published((26.0, 48.9, 63.0)),
        "dream": Published((51.1, 69.4, 74.8)),
        "dsa": Published((28.8, 52.1, 60.6), checked=True),
        "frepo": Published((46.8, 65.5, 71.7)),
        "ftd": Published((46.8, 66.6, 73.8)),
        "haba": Published((48.3, 69.9, 74.0)),
        "idc": Published((50.6, 67.5, 74.5), checked=True),
        "idc-i": Published((36.7, 58.3, 69.5), checked=True),
        "kfs": Published((59.8, 72.0, 75.0)),
        "kip-conv": Published((49.9, 62.7, 68.6)),
        "ld": Published((25.7, 38.3, 42.5)),
        "linba": Published((66.4, 71.2, 73.6)),
        "mtt": Published((46.3, 65.3, 71.6)),
        "ncfm": Published((49.5, 71.8, 77.4)),
        "rat-bptt": Published((53.2, 69.4, 75.3)),
        "rcig": Published((53.9, 69.1, 73.5)),
        "rfad": Published((53.6, 66.3, 71.1)),
        "tesla": Published((48.5, 66.4, 72.6)),
    },
}
"""By data set and recipe. HaBa's are of 1, 10 and 50 bases with hallucinators beside them: 2, 11 and 51 images of storage.
KIP's and RFAD's are of finite networks of width 1,024, FRePo's and RCIG's of widths 128-256-512 without norm,
LD's on CIFAR-10 of AlexNet."""


def published(recipe: str, data: str, images_per_class: int) -> str:
    """A cell of a table, such as `84.6 %`, or `~83.5 %` for a number that was not checked; empty where there is none."""
    found = PUBLISHED.get(data, {}).get(recipe)
    value = found.at(images_per_class) if found else None
    if found is None or value is None:
        return ""
    return f"{'' if found.checked else '~'}{value:g} %"


def published_nearest(recipe: str, data: str, images_per_class: int) -> str:
    """`published`, or where there is none for this data, that of another data set with its name: `~66.8 % on cifar10`."""
    others = ((f" on {other}", other) for other in ("cifar10", "fashion-mnist", "mnist") if other != data)
    cells = ((published(recipe, name, images_per_class), where) for where, name in (("", data), *others))
    return next((cell + where for cell, where in cells if cell), "")
