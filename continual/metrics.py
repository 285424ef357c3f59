"""What a class-incremental run is judged by, computed from the matrix of its accuracies."""

from collections.abc import Sequence
from statistics import fmean

Matrix = Sequence[Sequence[float]]
"""`matrix[i][j]`: accuracy (0 to 1) on the test data of experience `j` after training on experience `i`; square."""


def average_accuracy(matrix: Matrix) -> float:
    """The mean over experiences of the accuracy after the last one (GEM, arXiv 1706.08840)."""
    return fmean(matrix[-1])


def forgetting(matrix: Matrix) -> float:
    """Initial minus last accuracy, mean over all experiences but the last: Avalanche's `StreamForgetting`.

    Initial is the accuracy right after training on that experience. 0 for a single experience; below 0 where later
    experiences helped.
    """
    return fmean(matrix[j][j] - matrix[-1][j] for j in range(len(matrix) - 1)) if len(matrix) > 1 else 0.0


def forgetting_from_best(matrix: Matrix) -> float:
    """Best minus last accuracy, mean over all experiences but the last: the definition of Chaudhry et al. and Mammoth.

    Best is over the evaluations before the last one (arXiv 1801.10112, equation 3), from that experience on: earlier ones
    cannot know its classes. 0 for a single experience.
    """
    last = len(matrix) - 1
    if last == 0:
        return 0.0
    return fmean(max(matrix[i][j] for i in range(j, last)) - matrix[-1][j] for j in range(last))
