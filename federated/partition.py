"""Which client holds which examples: flwr-datasets' partitioners over our tensors, without their data sets.

The partitioners see a table of two columns, position and class number; nothing is downloaded, and the images stay where
they are. Rows are shuffled first: samplers are sorted by class, and `IidPartitioner` cuts consecutive pieces.
"""

import warnings

import datasets
import torch
from flwr_datasets.partitioner import DirichletPartitioner, IidPartitioner, PathologicalPartitioner
from flwr_datasets.partitioner.partitioner import Partitioner
from torch import Tensor

from core_distill.data import ClassSampler
from core_distill.randomness import derive_generator


def iid_partition(real: ClassSampler, num_clients: int, *, seed: int) -> list[Tensor]:
    """Equal random parts: positions in `real` for each client, int64 `(m,)` ascending, every example exactly once."""
    _check_num_clients(real, num_clients)
    return _partition(real, IidPartitioner(num_partitions=num_clients), num_clients, seed)


def dirichlet_partition(real: ClassSampler, num_clients: int, *, alpha: float, seed: int) -> list[Tensor]:
    """Each class spread over the clients in proportions drawn from Dirichlet(alpha); a small alpha gives clients few
    classes each. Every client gets at least one example, and every example goes to exactly one client.

    Raises `ValueError` for an alpha that is not above 0, and where no such draw is found.
    """
    _check_num_clients(real, num_clients)
    if not alpha > 0:
        raise ValueError(f"alpha must be above 0, got {alpha}; 0.1 is very uneven, 100 nearly even")
    partitioner = DirichletPartitioner(
        num_partitions=num_clients, partition_by="label", alpha=alpha, min_partition_size=1, seed=_int_seed(seed)
    )
    try:
        return _partition(real, partitioner, num_clients, seed)
    except ValueError as error:
        raise ValueError(
            f"Dirichlet({alpha}) left one of {num_clients} clients without examples in every draw: "
            "use a larger alpha or fewer clients"
        ) from error


def pathological_partition(real: ClassSampler, num_clients: int, *, classes_per_client: int, seed: int) -> list[Tensor]:
    """Each client holds `classes_per_client` classes; a class that several hold is cut evenly among them.

    Client `i` holds class number `i` (modulo the number of classes) and draws the others, so with fewer clients than
    classes some classes may be nobody's, and their examples are in no part.

    Raises `ValueError` where a client cannot have that many classes.
    """
    _check_num_clients(real, num_clients)
    if not 1 <= classes_per_client <= len(real.classes):
        raise ValueError(f"classes_per_client must lie in 1..{len(real.classes)}, got {classes_per_client}")
    partitioner = PathologicalPartitioner(
        num_partitions=num_clients,
        partition_by="label",
        num_classes_per_partition=classes_per_client,
        class_assignment_mode="first-deterministic",
        seed=_int_seed(seed),
    )
    return _partition(real, partitioner, num_clients, seed)


def _partition(real: ClassSampler, partitioner: Partitioner, num_clients: int, seed: int) -> list[Tensor]:
    order = torch.randperm(len(real), generator=derive_generator(seed, "partition"))
    labels = real.labels.cpu()[order]
    with warnings.catch_warnings():
        # Said once for every draw that is thrown away, and for classes that nobody holds.
        warnings.simplefilter("ignore", UserWarning)
        partitioner.dataset = datasets.Dataset.from_dict({"index": order.tolist(), "label": labels.tolist()})
        parts = [partitioner.load_partition(client)["index"][:] for client in range(num_clients)]
    return [torch.tensor(part, dtype=torch.int64).sort().values for part in parts]


def _int_seed(seed: int) -> int:
    return int(torch.randint(2**31, (), generator=derive_generator(seed, "partitioner")))


def _check_num_clients(real: ClassSampler, num_clients: int) -> None:
    if not 1 <= num_clients <= len(real):
        raise ValueError(f"num_clients must lie in 1..{len(real)}, one example each at least, got {num_clients}")
