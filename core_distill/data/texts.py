"""Texts as sequences of embedded words: what a network for texts sees, and what a synthetic text is made of.

Embeddings are fixed and outside the network, as in text distillation (arXiv 1910.02551): real and synthetic texts are both
`(dimensions, length)`, and what is learned need not be words.
"""

import itertools
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
    """The vectors of a text file, a line `word number number ...` each, as GloVe, word2vec and fastText write them.

    A first line of two whole numbers says how many words and dimensions there are; without it, the first word's numbers are
    counted. A word may have spaces, and a line end with one. Raises `ValueError`, naming the line, for one that does not fit
    or is not UTF-8, and for a file without vectors.
    """
    rows: dict[str, int] = {}
    vectors: list[np.ndarray] = []
    dimensions = 0
    with Path(path).open("rb") as file:
        for number, line in enumerate(file, 1):
            fields = _decoded(path, number, line).rstrip(" \r\n").split(" ")
            if number == 1 and len(fields) == 2 and all(map(str.isdecimal, fields)):
                dimensions = int(fields[1])
                continue
            dimensions = dimensions or _count_numbers(fields[1:])
            vectors.append(_vector(path, number, fields[1:][-dimensions:], dimensions))
            rows[" ".join(fields[:-dimensions])] = len(vectors)
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


def _decoded(path: str | Path, number: int, line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}, line {number}: not readable as text in UTF-8 ({error})") from error


def _count_numbers(fields: list[str]) -> int:
    """How many fields at the end are numbers."""
    return sum(1 for _ in itertools.takewhile(_is_number, reversed(fields)))


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _vector(path: str | Path, number: int, fields: list[str], dimensions: int) -> np.ndarray:
    try:
        vector = np.array([float(field) for field in fields], dtype=np.float32)
    except ValueError:
        vector = np.empty(0, dtype=np.float32)
    if not dimensions or len(vector) != dimensions or not np.isfinite(vector).all():
        wanted = dimensions or "at least 1"
        raise ValueError(
            f"{path}, line {number}: expected {wanted} finite numbers after the word, got {' '.join(fields)[:60]!r}"
        )
    return vector
