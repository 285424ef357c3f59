"""What all kinds of factorised images owe their files: whole ones give the set back, and those that lie are refused."""

import itertools

import pytest
import torch

from core_distill.data import ClassSampler
from core_distill.networks import MLP, network_factory
from core_distill.randomness import derive_generator
from core_distill.synthetic import HardLabels, SyntheticSet
from core_distill.synthetic.initialise import real_images
from core_distill.synthetic.kinds import PARAMETRISATIONS
from core_distill.synthetic.start import Start, slots_of
from core_distill.synthetic.storage import ArtefactError, decode_artefact, encode_artefact

HUGE = 10**10
CONFIGS = {
    "addressable-memory": ("slots", "shape", "size"),
    "hallucinated-bases": ("shape", "channels", "hallucinators"),
    "low-rank": ("shape", "rank"),
    "multi-formation": ("shape", "factor"),
}
SHAPES = ((1, 8, 8), (3, 9, 7))


def made(name, shape=(1, 8, 8)):
    """Two of three classes at a budget of eight images, moved a little from where they start."""
    images = torch.randint(0, 256, (24, *shape), dtype=torch.uint8, generator=derive_generator(1))
    labels = torch.arange(24) % 2 * 2
    channels = shape[0]
    real = ClassSampler(images, labels, num_classes=3, mean=[0.5] * channels, std=[0.25] * channels)
    start = Start(
        real=real,
        images_per_class=8,
        initialise=real_images,
        new_network=network_factory(MLP, shape, 3),
        generator=derive_generator(0),
    )
    decoder = PARAMETRISATIONS[name].starting_at(start)
    with torch.no_grad():
        for value in decoder.parameters():
            value += 0.1 * torch.randn(value.shape, generator=derive_generator(2))
    slots = slots_of(start, decoder)
    return SyntheticSet(
        decoder,
        HardLabels(slots.targets, 3),
        classes=(0, 2),
        num_classes=3,
        images_per_class=len(slots.targets) // 2,
        mean=[0.5] * channels,
        std=[0.25] * channels,
    )


@pytest.fixture(scope="module")
def sets():
    return {name: made(name) for name in CONFIGS}


@pytest.fixture(scope="module")
def files(sets):
    return {name: encode_artefact(synthetic, metadata={}) for name, synthetic in sets.items()}


@pytest.mark.parametrize("precision", ["float16", "float32", "uint8"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CONFIGS)
def test_a_file_gives_the_set_back(name, shape, precision):
    synthetic = made(name, shape)
    data = encode_artefact(synthetic, metadata={}, precision=precision)
    read = decode_artefact(data).synthetic
    images, again = (value.batch().images.detach() for value in (synthetic, read))
    if precision == "float32":
        assert torch.equal(again, images)
    assert read.images.config() == synthetic.images.config()
    assert encode_artefact(read, metadata={}, precision=precision) == data


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CONFIGS)
def test_256_levels_a_tensor_cost_about_a_level_of_the_images(name, shape):
    synthetic = made(name, shape)
    images = synthetic.batch().images.detach()
    read = decode_artefact(encode_artefact(synthetic, metadata={})).synthetic.batch().images
    levels = (read - images).abs() / (images.max() - images.min()) * 255
    assert levels.mean() < 0.6
    assert levels.max() < 3


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_stored_is_within_the_budget(name, shape):
    synthetic = made(name, shape)
    stored = sum(value.numel() for value in synthetic.images.parameters())
    assert stored <= 2 * 8 * torch.Size(shape).numel()
    assert not PARAMETRISATIONS[name].looks_at_data


@pytest.mark.parametrize("name", CONFIGS)
def test_an_empty_one_of_the_same_size_takes_the_state(name, sets):
    images = sets[name].images
    empty = type(images).from_config(**images.config())
    empty.load_state_dict(images.state_dict())
    slots = torch.tensor([1, 0])
    assert torch.equal(empty(slots), images(slots))


@pytest.mark.parametrize("name", CONFIGS)
def test_slots_are_decoded_in_the_order_asked_for(name, sets):
    images, views = sets[name].images, sets[name].views
    whole = images(torch.arange(images.num_slots)).unflatten(0, (-1, views))
    some = images(torch.tensor([1, 0, 1])).unflatten(0, (-1, views))
    assert torch.allclose(some, whole[[1, 0, 1]], atol=1e-6)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_batch_of_several_views_repeats_its_labels(name, sets):
    batch = sets[name].batch()
    assert len(batch.images) == len(batch.labels) == len(sets[name])
    assert batch.labels.tolist() == [0] * (len(batch.labels) // 2) + [2] * (len(batch.labels) // 2)


@pytest.mark.parametrize("name", CONFIGS)
def test_truncated_or_flipped_bytes_give_no_other_error(name, files):
    data = files[name]
    for place in range(0, len(data), 7):
        with pytest.raises(ArtefactError):
            decode_artefact(data[:place])
        try:
            read = decode_artefact(data[:place] + bytes([data[place] ^ 0x08]) + data[place + 1 :]).synthetic
        except ArtefactError:
            continue
        assert torch.isfinite(read.batch().images).all()


LIES = (0, -1, 1.5, 9, True, None, "4", [], [1], {}, HUGE, [HUGE, 1, 8, 8], [16, 1, HUGE, HUGE], [True] * 4)


@pytest.mark.parametrize(
    ("name", "entry", "lie"),
    [(name, entry, lie) for name, entries in CONFIGS.items() for entry, lie in itertools.product(entries, LIES)],
)
def test_a_config_that_lies_is_refused_quickly_and_without_memory(name, entry, lie, files, rebuilt, quickly):
    def change(layout):
        layout["decoder"]["config"][entry] = lie

    data = rebuilt(files[name], change)
    with quickly(), pytest.raises(ArtefactError):
        decode_artefact(data)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("change", ["missing", "extra"])
def test_a_config_of_other_entries_is_refused(name, change, files, rebuilt):
    def changed(layout):
        config = layout["decoder"]["config"]
        if change == "missing":
            del config[CONFIGS[name][-1]]
        else:
            config["extra"] = 1

    with pytest.raises(ArtefactError, match="not a synthetic set"):
        decode_artefact(rebuilt(files[name], changed))


def put(name, config, **tensors):
    """A change of the layout and one of the tensors."""

    def layout(found):
        found["decoder"]["config"] = config

    return pytest.param(name, layout, {f"images.{key}": value for key, value in tensors.items()}, id=name)


def zeros(*shape):
    return torch.zeros(shape, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("name", "layout", "tensors"),
    [
        put(
            "low-rank",
            {"shape": [32, 1, 8000, 8000], "rank": 1},
            left=zeros(32, 1, 8000, 1),
            right=zeros(32, 1, 1, 8000),
        ),
        put(
            "addressable-memory",
            {"slots": 32, "shape": [1, 1, 1, 1], "size": [8000, 8000]},
            bases=zeros(1, 1, 1, 1),
            coefficients=zeros(32, 1),
        ),
        put("multi-formation", {"shape": [16, 1, 400, 400], "factor": 400}, pixels=zeros(16, 1, 400, 400)),
    ],
)
def test_a_small_file_of_endless_images_is_refused(name, layout, tensors, files, rebuilt, quickly):
    data = rebuilt(files[name], layout, lambda stored: stored.update(tensors))
    with quickly(), pytest.raises(ArtefactError, match="would be decoded to"):
        decode_artefact(data)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_missing_or_foreign_tensor_is_named(name, files, rebuilt):
    tensor = next(iter(PARAMETRISATIONS[name].from_config(**made(name).images.config()).state_dict()))
    with pytest.raises(ArtefactError, match=tensor):
        decode_artefact(rebuilt(files[name], change_tensors=lambda stored: stored.pop(f"images.{tensor}")))
    with pytest.raises(ArtefactError, match="foreign"):
        decode_artefact(rebuilt(files[name], change_tensors=lambda stored: stored.update({"foreign": zeros(1)})))
