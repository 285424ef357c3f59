"""One distillation by several processes, each with some of the classes: what torchrun starts.

Every process reads all data and holds the whole synthetic set, which is small. It draws real images and computes losses of
its own classes; their gradients are summed over the processes before each update, so the set and the optimizer are the
same everywhere, any parametrisation may share values between classes, and networks train on the set without asking anyone.
Random numbers are drawn for all classes by equal generators, and each process uses its own rows: the result is that of one
process, up to the order of sums. The checkpoint is that of one process too, so a run goes on with any number of them.
"""

import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import TYPE_CHECKING, ClassVar, NoReturn, Protocol, cast, final, runtime_checkable

import torch
import torch.distributed
from torch import Generator, Tensor

from core_distill.augment import Dsa
from core_distill.data import ClassSampler
from core_distill.data.class_shard import ClassShard
from core_distill.partials import wrapped
from core_distill.recipes.batches import NewBatches, uniform
from core_distill.recipes.values import written
from core_distill.types import Batch, Method, RealData, SiameseAugment

if TYPE_CHECKING:
    from core_distill.synthetic import SyntheticSet

PATIENCE = timedelta(minutes=30)
"""How long a process waits for another before it takes it for dead."""


class LostProcessError(ConnectionError):
    """Another process of the run died or hangs; the last checkpoint is whole."""


@runtime_checkable
class ClassWise(Protocol):
    """A method, or its class, that says whether its losses are sums over classes."""

    class_wise: ClassVar[bool]


class _Divisible(ClassWise, Protocol):
    """What a class-wise method is: a dataclass that uses of real data, and for its losses of the synthetic set,
    `by_class` alone."""

    @property
    def real(self) -> RealData: ...

    @property
    def augment(self) -> SiameseAugment: ...


@final
class Processes:
    """The processes of a run, seen from one of them; alone, everything here does nothing.

    Attributes: `rank`, from 0; `count`.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count

    @property
    def is_leader(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def rows(self, of: int) -> range:
        """The own rows of `of`: consecutive, of numbers that differ by at most 1.

        Raises `ValueError` for fewer rows than processes.
        """
        if of < self.count:
            raise ValueError(f"{of} classes cannot be shared by {self.count} processes: start at most {of}")
        return range(of * self.rank // self.count, of * (self.rank + 1) // self.count)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes, in place. Raises `LostProcessError`."""
        if self.count > 1:
            with _telling_of_loss():
                for tensor in tensors:
                    torch.distributed.all_reduce(tensor)

    def wait(self) -> None:
        """Until all processes are here. Raises `LostProcessError`."""
        if self.count > 1:
            with _telling_of_loss():
                torch.distributed.barrier()

    def told(self, said: bool, device: torch.device | str) -> bool:
        """What the leader says, known to all; what the others say does not count. Raises `LostProcessError`."""
        flag = torch.tensor([float(said and self.is_leader)], device=device)
        self.add([flag])
        return bool(flag)

    @contextlib.contextmanager
    def leader_first(self) -> Iterator[None]:
        """The leader runs the block before the others: what it downloads or writes, they find."""
        if not self.is_leader:
            self.wait()
        yield
        if self.is_leader:
            self.wait()


ALONE = Processes()


def launched() -> bool:
    """Whether torchrun, or another launcher that sets the same variables, started this process among others."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def leave(code: int) -> NoReturn:
    """End this process at once, after what it said was written.

    The interpreter's own end takes threads down while libraries may still run in them, and a process that was done has been
    seen to abort there ("terminate called without an active exception", about once in a hundred runs of two processes):
    torchrun then ends the others, which were not.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def local_device(device: str) -> str:
    """`cuda` as the card of this process among those of its machine; anything else as it is."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if launched() and device == "cuda" else device


@contextlib.contextmanager
def joined(device: str, *, patience: timedelta = PATIENCE) -> Iterator[Processes]:
    """The processes that torchrun started, connected (NCCL for cards, else gloo), or `ALONE` without it.

    Inside, a request to end (SIGTERM, which torchrun sends when another process died) is a `LostProcessError`.
    """
    if not launched():
        yield ALONE
        return
    with _telling_of_loss():
        backend = "nccl" if torch.device(device).type == "cuda" else "gloo"
        if backend == "nccl":
            torch.cuda.set_device(device)
        torch.distributed.init_process_group(backend, timeout=patience)
    before = signal.signal(signal.SIGTERM, _ended)
    try:
        yield Processes(torch.distributed.get_rank(), torch.distributed.get_world_size())
    except LostProcessError:
        before = signal.SIG_IGN  # torchrun's request to end must not cut off the message; it kills soon enough
        raise
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
        with contextlib.suppress(RuntimeError):
            torch.distributed.destroy_process_group()


def check_class_wise(method: object) -> None:
    """Raise `ValueError`, with the reason, where a method (or its class) cannot be shared by class."""
    if isinstance(method, ClassWise) and method.class_wise:
        return
    name = method.__name__ if isinstance(method, type) else type(method).__name__
    raise ValueError(
        f"{name} cannot be shared by several processes: its loss is not a sum over classes, each of which a process "
        "could compute alone; start one process, or use dm, dc or dsa"
    )


def check_uniform(batches: NewBatches) -> None:
    """Raise `ValueError`, with the reason, where the way a recipe draws its real batches cannot be shared by class."""
    if wrapped(batches) is not uniform:
        raise ValueError(
            f"batches={written('batches', batches)} cannot be shared by several processes, each of which reads images of its "
            "own classes alone: use batches=uniform, or start one process"
        )


def shard(method: Method, optimizer: torch.optim.Optimizer, processes: Processes) -> Method:
    """`method` on this process's classes alone; from now on `optimizer` sums gradients over the processes first.

    `method` and `optimizer` must be made alike in every process, before anything is drawn. Alone, it is `method` itself.
    Raises `ValueError` for a method that is not class-wise, real data or an augmentation of another kind, and more
    processes than classes.
    """
    if processes.count == 1:
        return method
    check_class_wise(method)
    whole = cast(_Divisible, method)
    if not isinstance(whole.real, ClassSampler) or not isinstance(whole.augment, Dsa):
        kinds = f"{type(whole.real).__name__} and {type(whole.augment).__name__}"
        raise ValueError(
            f"only a ClassSampler, which batches=uniform draws from, and Dsa can be shared by several processes, got {kinds}"
        )
    count = len(whole.real.classes)
    rows = processes.rows(count)
    parts = {"real": ClassShard(whole.real, rows), "augment": whole.augment.shard(rows, count)}
    own: Method = dataclasses.replace(method, **parts)  # type: ignore[type-var]

    def sum_gradients(optimizer: torch.optim.Optimizer, *_: object) -> None:
        learned = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        processes.add([parameter.grad for parameter in learned if parameter.grad is not None])

    optimizer.register_step_pre_hook(sum_gradients)
    return _Sharded(own, processes, rows)


@final
@dataclass(frozen=True)
class _Sharded:
    """Losses of the own classes' gradients, with the value of all classes."""

    method: Method
    processes: Processes
    rows: range

    def episode(self, synthetic: "SyntheticSet", generator: Generator) -> Iterator[Tensor]:
        """Each own loss, of the value summed over the processes."""
        seen = cast("SyntheticSet", _OwnRows(synthetic, self.rows))
        for loss in self.method.episode(seen, generator):
            value = loss.detach()
            total = value.clone()
            self.processes.add([total])
            yield loss + (total - value)


@final
@dataclass(frozen=True)
class _OwnRows:
    """A synthetic set of which grouped batches have the own rows alone; networks train on all of it."""

    synthetic: "SyntheticSet"
    rows: range

    def by_class(self, generator: Generator | None = None) -> Batch:
        images, labels, _ = self.synthetic.by_class(generator)
        return Batch(images[self.rows.start : self.rows.stop], labels[self.rows.start : self.rows.stop])

    def batch(self, size: int | None = None, generator: Generator | None = None) -> Batch:
        return self.synthetic.batch(size, generator)


@contextlib.contextmanager
def _telling_of_loss() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(
            "another process of this run died or cannot be reached; the same command goes on from the last checkpoint"
        ) from error


def _ended(number: int, frame: FrameType | None) -> None:
    raise LostProcessError(
        "this process was told to end, as torchrun does when another one died; the same command goes on from the last "
        "checkpoint"
    )
