"""Asking a device whether something holds, without waiting before the answer is needed."""

from typing import final

import torch
from torch import Tensor


@final
class Verdict:
    """A truth value on its way from a device, which reading waits for without waiting for work queued after it."""

    def __init__(self, truth: Tensor) -> None:
        self._truth = truth.to("cpu", non_blocking=True)
        self._arrived = torch.cuda.Event() if truth.is_cuda else None
        if self._arrived is not None:
            self._arrived.record(torch.cuda.current_stream(truth.device))

    def read(self) -> bool:
        """The value; on a CUDA device this waits for it."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return bool(self._truth)
