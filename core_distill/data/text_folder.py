"""Labelled texts in a folder, as comma-separated values or plain lines: how a user's own texts come in without any code."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from core_distill.data.splits import DataSplits, Examples, fixed_test_split, make_splits
from core_distill.data.texts import LENGTH, Embeddings, class_numbers, embed_texts, hashed_embeddings

_LAYOUT = (
    "expected FOLDER/train.csv, with columns label and text under a first line that names them, or FOLDER/train.txt, a line "
    "'LABEL text ...' each; test.csv or test.txt beside it holds the test set"
)


class LabelledText(NamedTuple):
    """A text with the name of its class."""

    label: str
    text: str


def holds_texts(folder: Path) -> bool:
    """Whether `load_texts` reads the folder."""
    return any((folder / f"train{ending}").is_file() for ending in _READERS)


def load_texts(
    folder: str | Path,
    *,
    length: int = LENGTH,
    embeddings: Embeddings | None = None,
    validation_fraction: float = 0.1,
    seed: int = 0,
) -> DataSplits:
    """The texts of a folder, embedded, as train, validation (by `seed`) and test: images `(dimensions, length)`.

    Args:
        folder: `train.csv` with the columns label and text, or `train.txt` with a line 'LABEL text ...' each; and a test
            file of the same kind, without which a fifth of each class, always the same texts, becomes the test set.
        length: words that are kept of each text.
        embeddings: hashed ones by default, whose mean 0 and deviation 1 count as public; of others, mean and deviation are
            computed over train.

    Raises `ValueError`, naming file and line, for what cannot be read, fewer than two classes, and a class of the test set
    that train lacks.
    """
    train, test = read_text_folder(Path(folder).expanduser())
    name = Path(folder).expanduser().resolve().name
    return embedded_splits(
        train, test, name=name, length=length, embeddings=embeddings, validation_fraction=validation_fraction, seed=seed
    )


def embedded_splits(
    train: list[LabelledText],
    test: list[LabelledText],
    *,
    name: str,
    length: int = LENGTH,
    embeddings: Embeddings | None = None,
    validation_fraction: float = 0.1,
    seed: int = 0,
) -> DataSplits:
    """Splits of labelled texts; without `test`, a fifth of each class of `train` is it. Raises what `load_texts` does."""
    chosen = embeddings or hashed_embeddings()
    names = tuple(sorted({item.label for item in train}))
    if len(names) < 2:
        raise ValueError(f"{name}: at least 2 classes are needed, got {', '.join(names) or 'none'}")
    if foreign := sorted({item.label for item in test} - set(names)):
        raise ValueError(f"{name}: the test set has classes that train lacks: {', '.join(foreign)}")
    numbers = {label: number for number, label in enumerate(names)}

    def examples(items: list[LabelledText]) -> Examples:
        texts = embed_texts([item.text for item in items], chosen, length=length)
        return Examples(texts, class_numbers((item.label for item in items), numbers))

    parts = (examples(train), examples(test)) if test else fixed_test_split(examples(train))
    hashed = embeddings is None
    return make_splits(
        *parts,
        name=name,
        class_names=names,
        mean=[0.0] * chosen.dimensions if hashed else None,
        std=[1.0] * chosen.dimensions if hashed else None,
        validation_fraction=validation_fraction,
        seed=seed,
    )


def read_text_folder(folder: Path) -> tuple[list[LabelledText], list[LabelledText]]:
    """Train and test texts, the latter empty where there is no such file; `ValueError` where one cannot be read."""
    endings = [ending for ending in _READERS if (folder / f"train{ending}").is_file()]
    if len(endings) != 1:
        raise ValueError(f"{folder} has {len(endings)} files called train.csv or train.txt: {_LAYOUT}")
    train, test = (folder / f"{part}{endings[0]}" for part in ("train", "test"))
    if others := [
        f"test{ending}" for ending in _READERS if ending != endings[0] and (folder / f"test{ending}").exists()
    ]:
        raise ValueError(f"{folder}: {others[0]} is of another kind than {train.name}; bring it as {test.name}")
    return _read(train), _read(test) if test.is_file() else []


def _read(path: Path) -> list[LabelledText]:
    try:
        found = list(_READERS[path.suffix](path))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not readable as text in UTF-8 ({error})") from error
    if not found:
        raise ValueError(f"{path} holds no texts: {_LAYOUT}")
    return found


def _read_csv(path: Path) -> Iterator[LabelledText]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        try:
            if missing := {"label", "text"} - set(rows.fieldnames or ()):
                raise ValueError(f"{path} lacks the column {' and '.join(sorted(missing))}: {_LAYOUT}")
            for row in rows:
                label, text = (row["label"] or "").strip(), row["text"]
                if None in row:
                    raise ValueError(
                        f"{path}, line {rows.line_num}: more fields than columns; put a text with commas into double quotes"
                    )
                if not label or text is None:
                    raise ValueError(f"{path}, line {rows.line_num}: a label and a text are needed")
                yield LabelledText(label, text)
        except csv.Error as error:
            line = rows.reader.line_num
            raise ValueError(f"{path}, line {line}: not readable as comma-separated values ({error})") from error


def _read_lines(path: Path) -> Iterator[LabelledText]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            label, *text = line.split(maxsplit=1)[:2] or [""]
            if label and not text:
                raise ValueError(f"{path}, line {number}: a label and a text are needed, got {line.strip()!r}")
            if label:
                yield LabelledText(label, text[0].strip())


_READERS: dict[str, Callable[[Path], Iterator[LabelledText]]] = {".csv": _read_csv, ".txt": _read_lines}
