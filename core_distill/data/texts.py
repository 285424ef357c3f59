"""Texts as sequences of embedded words: what a network for texts sees, and what a synthetic text is made of.

Embeddings are fixed and outside the network, as in text distillation (arXiv 1910.02551): real and synthetic texts are both
`(dimensions, length)`, and what is learned need not be words.
"""

import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core_distill.randomness import derive_generator

LENGTH = 32
"""Words of a text that are kept, where nothing else is asked."""

DIMENSIONS = 50
"""Of hashed embeddings."""

_BUCKETS = 1 << 16
_WORD = re.compile(r"[^\W_]+|[^\w\s]")


def words_of(text: str) -> list[str]:
    """Words and single punctuation marks, in lower case.

    >>> words_of("What's a 2nd _try_?")
    ['what', "'", 's', 'a', '2nd', 'try', '?']
    """
    return _WORD.findall(text.lower())


@dataclass(frozen=True)
class Embeddings:
    """A row of `table (rows, dimensions)` for each word; row 0, which is zero, stands for no word, and for unknown ones.

    Args:
        row_of: the row of a word.
    """

    table: Tensor
    row_of: Callable[[str], int]

    @property
    def dimensions(self) -> int:
        return self.table.shape[1]


def hashed_embeddings(dimensions: int = DIMENSIONS) -> Embeddings:
    """Standard normal vectors, always the same, one of 65,536 for every word by its checksum: they know nothing of any data.

    Raises `ValueError` for fewer than one dimension.
    """
    if dimensions < 1:
        raise ValueError(f"embeddings need at least 1 dimension, got {dimensions}")
    vectors = torch.randn(_BUCKETS, dimensions, generator=derive_generator(0, "hashed embeddings"))
    return Embeddings(torch.cat((torch.zeros(1, dimensions), vectors)), _bucket)


def read_embeddings(path: str | Path) -> Embeddings:
    """The vectors of a text file, a line `word number number ...` each, as GloVe comes.

    A first line of two whole numbers, which other tools write, is passed over. Raises `ValueError`, naming the line, for one
    that does not fit, and for a file without vectors.
    """
    rows: dict[str, int] = {}
    vectors: list[np.ndarray] = []
    with Path(path).open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            word, *numbers = line.rstrip("\n").split(" ")
            if number == 1 and len(numbers) == 1:
                continue
            vectors.append(_vector(path, number, numbers, like=vectors[0] if vectors else None))
            rows[word] = len(vectors)
    if not vectors:
        raise ValueError(f"{path} holds no vectors: expected a line 'word number number ...' each")
    table = torch.from_numpy(np.stack([np.zeros_like(vectors[0]), *vectors]))
    return Embeddings(table, lambda word: rows.get(word, 0))


def embed_texts(texts: Sequence[str], embeddings: Embeddings, *, length: int = LENGTH) -> Tensor:
    """The first `length` words of each text, `(n, dimensions, length)` in float32; zeros after the last.

    Raises `ValueError` for a length below 1.
    """
    if length < 1:
        raise ValueError(f"texts need a length of at least 1 word, got {length}")
    rows = torch.zeros(len(texts), length, dtype=torch.int64)
    for number, text in enumerate(texts):
        known = [embeddings.row_of(word) for word in words_of(text)[:length]]
        rows[number, : len(known)] = torch.tensor(known, dtype=torch.int64)
    return embeddings.table[rows].transpose(1, 2).float().contiguous()


def class_numbers(labels: Iterable[str], numbers: Mapping[str, int]) -> Tensor:
    """Int64 `(n,)`."""
    return torch.tensor([numbers[label] for label in labels], dtype=torch.int64)


def _bucket(word: str) -> int:
    return 1 + zlib.crc32(word.encode()) % _BUCKETS


def _vector(path: str | Path, number: int, values: list[str], *, like: np.ndarray | None) -> np.ndarray:
    try:
        vector = np.array([float(value) for value in values], dtype=np.float32)
    except ValueError as error:
        raise ValueError(f"{path}, line {number}: {error}; expected 'word number number ...'") from error
    if not len(vector) or (like is not None and len(vector) != len(like)) or not np.isfinite(vector).all():
        wanted = "at least 1" if like is None else str(len(like))
        raise ValueError(f"{path}, line {number}: expected {wanted} finite numbers after the word, got {len(vector)}")
    return vector
