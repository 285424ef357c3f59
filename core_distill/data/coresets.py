"""Baselines that choose real images instead of learning synthetic ones: at random, in feature space, by forgetting."""

import math

import torch
from torch import Generator, Tensor, nn

from core_distill.data.class_sampler import ClassSampler
from core_distill.engine import features

_CHUNK = 1024
"""Images that are normalised at once."""


def random_coreset(data: ClassSampler, images_per_class: int, generator: Generator) -> Tensor:
    """`images_per_class` random examples of each class present: positions in `data`, int64,
    `(k * images_per_class,)`, class by class.

    Raises `ValueError`, naming the class, where one has fewer.
    """
    chosen = []
    for members in _members(data, images_per_class):
        order = torch.randperm(len(members), generator=generator, device=generator.device)
        chosen.append(members[order[:images_per_class].to(data.device)])
    return torch.cat(chosen)


def herding_coreset(data: ClassSampler, images_per_class: int, features: Tensor) -> Tensor:
    """Herding (Welling 2009; iCaRL, arXiv 1611.07725, Algorithm 4): images whose mean stays close to the class mean.

    Each step takes the image that brings the mean of the chosen `features` (a row an image of `data`, `(n, d)`)
    closest to the mean of its class; no image twice. Features are taken as they are, where iCaRL's have unit length. Returns
    positions in `data`, int64 `(k * images_per_class,)`, class by class in the order taken.
    Raises `ValueError`, naming the class, where one has fewer images.
    """
    _check_features(data, features)
    members = _members(data, images_per_class)
    return torch.cat([own[_herd(features[own].double(), images_per_class)] for own in members])


def _herd(features: Tensor, count: int) -> Tensor:
    # With the mean taken off, |sum + f|^2 = |sum|^2 + 2 f.sum + |f|^2, and the first term is the same for all.
    centred = features - features.mean(0)
    squares = centred.square().sum(1)
    total, chosen = torch.zeros_like(centred[0]), []
    for _ in range(count):
        best = (squares + 2 * (centred @ total)).argmin()
        total = total + centred[best]
        squares = squares.index_fill(0, best, math.inf)
        chosen.append(best)
    return torch.stack(chosen)


def kmeans_coreset(data: ClassSampler, images_per_class: int, features: Tensor, generator: Generator) -> Tensor:
    """The real image nearest to each of `images_per_class` k-means centres a class, in the space of `features (n, d)`.

    No image is taken twice: a centre whose nearest image is gone takes the next. Returns positions in `data`, int64
    `(k * images_per_class,)`, class by class. Raises `ValueError`, naming the class, where one has fewer images.
    """
    from sklearn.cluster import KMeans

    _check_features(data, features)
    chosen = []
    for members in _members(data, images_per_class):
        own = features[members]
        state = int(torch.randint(2**31, (1,), generator=generator, device=generator.device))
        found = KMeans(images_per_class, n_init=1, random_state=state).fit(own.cpu().numpy())
        centres = torch.as_tensor(found.cluster_centers_, dtype=own.dtype, device=own.device)
        distances = torch.cdist(centres, own)
        for number in range(images_per_class):
            nearest = distances[number].argmin()
            distances[:, nearest] = math.inf
            chosen.append(members[nearest])
    return torch.stack(chosen)


def k_centre_coreset(data: ClassSampler, images_per_class: int, features: Tensor) -> Tensor:
    """Greedy k-centre (Gonzalez 1985; Sener and Savarese, arXiv 1708.00489): images that leave none of their class far away.

    The first is the one nearest to the class mean, each next the farthest from those taken, in the space of
    `features (n, d)`. Returns positions in `data`, int64 `(k * images_per_class,)`, class by class in the order taken.
    Raises `ValueError`, naming the class, where one has fewer images.
    """
    _check_features(data, features)
    members = _members(data, images_per_class)
    return torch.cat([own[_spread(features[own].double(), images_per_class)] for own in members])


def _spread(features: Tensor, count: int) -> Tensor:
    chosen = [(features - features.mean(0)).square().sum(1).argmin()]
    distances = torch.full((len(features),), math.inf, dtype=features.dtype, device=features.device)
    for _ in range(count - 1):
        distances = torch.minimum(distances, (features - features[chosen[-1]]).square().sum(1))
        distances = distances.index_fill(0, chosen[-1], -math.inf)
        chosen.append(distances.argmax())
    return torch.stack(chosen)


def forgetting_coreset(data: ClassSampler, images_per_class: int, forgotten: Tensor, generator: Generator) -> Tensor:
    """The images of each class that training forgot most often (Toneva et al., arXiv 1812.05159); equal counts at random.

    `forgotten (n,)` counts, for each image of `data`, how often it was classified correctly and then no more; one that
    never was counts more than any other, one that nobody looked at has -1 and is taken last. Returns positions in `data`,
    int64 `(k * images_per_class,)`, class by class. Raises `ValueError`, naming the class, where one has fewer images.
    """
    if forgotten.shape != (len(data),):
        raise ValueError(f"forgotten needs the shape ({len(data)},), a count an image, got {tuple(forgotten.shape)}")
    chosen = []
    for members in _members(data, images_per_class):
        shuffled = members[torch.randperm(len(members), generator=generator, device=generator.device).to(data.device)]
        chosen.append(shuffled[forgotten[shuffled].argsort(descending=True, stable=True)[:images_per_class]])
    return torch.cat(chosen)


@torch.no_grad()
def embed(network: nn.Module, data: ClassSampler) -> Tensor:
    """`network.features` of every image of `data` in evaluation mode, `(n, d)`, computed on the surrounding engine.

    `network` must be on the device of `data`; its training mode is put back.
    """
    was_training = network.training
    network.eval()
    try:
        return torch.cat([features(network, batch.images) for batch in data.all_chunks(_CHUNK)])
    finally:
        network.train(was_training)


def images_for_bytes(budget_bytes: int, data: ClassSampler) -> int:
    """How many real images a class fit into `budget_bytes`, at one byte a value and one a label; at least 1.

    A text counts so too, a byte a value of its embedding, which is more than its words take.

    Never more than the smallest class present holds, so that a class-balanced coreset of that size exists.
    """
    bytes_an_image = math.prod(data.image_shape) + 1
    fitting = budget_bytes // (bytes_an_image * len(data.classes))
    return max(1, min(fitting, int(data.class_sizes.min())))


def _members(data: ClassSampler, images_per_class: int) -> list[Tensor]:
    """The positions of each class present; `ValueError` where one has fewer than `images_per_class`."""
    if images_per_class < 1:
        raise ValueError(f"images_per_class must be at least 1, got {images_per_class}")
    members = [data.of_class(number) for number in data.classes.tolist()]
    for number, own in zip(data.classes.tolist(), members, strict=True):
        if len(own) < images_per_class:
            raise ValueError(f"class {number} has {len(own)} images, {images_per_class} were asked for: ask for fewer")
    return members


def _check_features(data: ClassSampler, features: Tensor) -> None:
    if features.dim() != 2 or len(features) != len(data):
        raise ValueError(f"features need the shape ({len(data)}, d), a row an image, got {tuple(features.shape)}")
