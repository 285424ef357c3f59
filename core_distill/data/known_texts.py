"""The sets of texts that are known by name: one that every Python brings along, and the questions of the text papers."""

import ast
import hashlib
import sysconfig
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path

from core_distill.data.text_folder import LabelledText
from core_distill.files import cache_folder, write_atomically

ReadTexts = Callable[[Path | None, bool], tuple[list[LabelledText], list[LabelledText]]]
"""`read(data_dir, download)` gives train and test texts; no test texts where the source has none."""

_PACKAGES = ("asyncio", "email", "http", "importlib", "logging", "multiprocessing", "unittest", "xml")
_FEWEST_WORDS = 4

_TREC_PLACE = "https://cogcomp.seas.upenn.edu/Data/QA/QC/"
_TREC_FILES = {
    "train_5500.label": "9e4c8bdcaffb96ed61041bd64b564183d52793a8e91d84fc3a8646885f466ec3",
    "TREC_10.label": "033f22c028c2bbba9ca682f68ffe204dc1aa6e1cf35dd6207f2d4ca67f0d0e8e",
}
"""Train and test file, with the SHA-256 of what is downloaded."""


def _read_docstrings(data_dir: Path | None, download: bool) -> tuple[list[LabelledText], list[LabelledText]]:
    """The first paragraphs of what Python's own packages say of their classes and functions; the class is the package.

    Some 1,700 texts of 4 words or more, each once, under the licence of Python, which ships with them: other versions have
    slightly other texts, as the data's digest tells.
    """
    library = Path(sysconfig.get_paths()["stdlib"])
    found = [LabelledText(name, text) for name in _PACKAGES for text in _paragraphs(library / name)]
    return found, []


def _paragraphs(package: Path) -> list[str]:
    texts: dict[str, None] = {}
    for path in sorted(package.rglob("*.py")):
        if {"test", "tests"} & set(path.relative_to(package).parts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                first = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                if len(first.split()) >= _FEWEST_WORDS:
                    texts[first] = None
    return list(texts)


def _read_trec(data_dir: Path | None, download: bool) -> tuple[list[LabelledText], list[LabelledText]]:
    """5,452 and 500 questions by what they ask for (Li and Roth 2002; TREC 10): the six coarse classes."""
    folders = [*([data_dir, data_dir / "trec6"] if data_dir else []), cache_folder("trec6")]
    place = _holding(folders)
    if place is None and download:
        _fetch(folders)
        place = _holding(folders)
    if place is None:
        raise _absent(folders, "it was not downloaded")
    train, test = (list(_questions(place / name)) for name in _TREC_FILES)
    return train, test


def _holding(folders: list[Path]) -> Path | None:
    return next((place for place in folders if all((place / name).is_file() for name in _TREC_FILES)), None)


def _questions(path: Path) -> Iterator[LabelledText]:
    for number, line in enumerate(path.read_text(encoding="latin-1").splitlines(), 1):
        label, _, text = line.partition(" ")
        coarse, separator, _ = label.partition(":")
        if not (separator and text.strip()):
            raise ValueError(f"{path}, line {number}: expected 'CLASS:subclass question', got {line[:60]!r}")
        yield LabelledText(coarse, text)


def _fetch(searched: list[Path]) -> None:
    for name, digest in _TREC_FILES.items():
        try:
            with urllib.request.urlopen(_TREC_PLACE + name, timeout=60) as answer:
                content = answer.read()
        except (OSError, HTTPException) as error:
            raise _absent(searched, f"the download failed ({' '.join(str(error).split())})") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise _absent(searched, f"{_TREC_PLACE}{name} is not the file that it was")
        write_atomically(cache_folder("trec6") / name, content)


def _absent(searched: list[Path], reason: str) -> ValueError:
    places = ", ".join(map(str, searched))
    return ValueError(
        f"trec6 is not in {places}, and {reason}. Ways out: put {' and '.join(_TREC_FILES)} into {cache_folder('trec6')}; or "
        "name the folder that holds them with --data-dir (data_dir=); or use docstrings, which needs no download"
    )


KNOWN_TEXTS: dict[str, ReadTexts] = {"docstrings": _read_docstrings, "trec6": _read_trec}
"""By name, how each is read."""
