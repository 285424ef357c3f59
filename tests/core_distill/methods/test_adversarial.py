"""The second player: against a slow twin, silent where there is nothing to contrast, and kept with the run."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F

from core_distill.augment import Dsa, no_augment
from core_distill.checkpoint import Checkpoint
from core_distill.distill import distill
from core_distill.methods import Adversarial, DistributionMatching, KernelRegression
from core_distill.networks import MLP, network_factory
from core_distill.randomness import derive_generator
from core_distill.recipes import find_recipe, prepare
from core_distill.synthetic import HardLabels, Pixels, SoftLabels, SyntheticSet
from core_distill.synthetic.multi_formation import MultiFormation


@dataclass(frozen=True, kw_only=True)
class Still:
    """Losses without a meaning: the sum of the images, times zero; two an episode."""

    uses_step_size: ClassVar[bool] = False

    def episode(self, synthetic, generator):
        for _ in range(2):
            yield 0 * synthetic.batch(generator=generator).images.sum()


def set_of(decoder, labels=None, classes=3):
    slots = decoder.num_slots
    targets = torch.arange(classes).repeat_interleave(slots // classes)
    return SyntheticSet(
        decoder,
        labels or HardLabels(targets, classes),
        classes=range(classes),
        num_classes=classes,
        images_per_class=slots // classes,
        mean=[0.0],
        std=[1.0],
    )


def images(count=6):
    return torch.randn(count, 1, 8, 8, generator=derive_generator(3))


@pytest.fixture
def new_mlp():
    return network_factory(MLP, (1, 8, 8), 3)


def taken(method, synthetic, seed, updates):
    """Losses and gradients of an episode in which the images move by a little."""
    losses, gradients = [], []
    for loss in method.episode(synthetic, derive_generator(seed)):
        found = torch.autograd.grad(loss, synthetic.images.pixels)[0]
        losses.append(loss.detach())
        gradients.append(found)
        with torch.no_grad():
            synthetic.images.pixels -= updates * found
    return losses, gradients


class Twin:
    """HaBa's two players in one graph each, on a set with the same random choices."""

    def __init__(self, network, diversity=0.1, likeness=0.1, contrast=0.1, temperature=0.07, rate=0.001, momentum=0.9):
        self.network, self.weights = network, (diversity, likeness, contrast, temperature)
        self.optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=momentum)

    def pairs(self, synthetic, generator):
        two = torch.randperm(synthetic.views, generator=generator)[:2].tolist()
        views = synthetic.batch().images.unflatten(0, (-1, synthetic.views))
        return views[:, two[0]], views[:, two[1]]

    def likeness_of(self, first, second):
        return ((F.cosine_similarity(self.network.features(first), self.network.features(second)) + 1) / 2).mean()

    def train(self, first, second, targets):
        _, likeness, contrast, temperature = self.weights
        seen = F.normalize(self.network.features(torch.cat([first, second])), dim=1)
        classes = torch.cat([targets, targets])
        supcon = torch.tensor(0.0)
        for i in range(len(seen)):
            others = [j for j in range(len(seen)) if j != i]
            bottom = torch.stack([seen[i] @ seen[j] / temperature for j in others]).logsumexp(0)
            same = [j for j in others if classes[j] == classes[i]]
            supcon = supcon - sum(seen[i] @ seen[j] / temperature - bottom for j in same) / len(same) / len(seen)
        loss = F.cross_entropy(self.network(torch.cat([first, second])), classes)
        loss = loss + likeness * (1 - self.likeness_of(first, second)) + contrast * supcon
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def test_both_players_against_the_slow_twin(new_mlp):
    values = {"diversity": 0.7, "likeness": 0.3, "contrast": 0.2, "adversary_rate": 0.05}
    method = Adversarial(inner=Still(), new_network=new_mlp, contrast_temperature=0.5, **values)
    ours, theirs = (set_of(MultiFormation(images(), factor=2)) for _ in range(2))
    losses, gradients = taken(method, ours, 5, 10.0)
    generator = derive_generator(5)
    twin = Twin(new_mlp(generator), 0.7, 0.3, 0.2, 0.5, 0.05)
    for loss, gradient in zip(losses, gradients, strict=True):
        expected = 0.7 * twin.likeness_of(*twin.pairs(theirs, generator))
        found = torch.autograd.grad(expected, theirs.images.pixels)[0]
        assert torch.allclose(loss, expected, atol=1e-6)
        assert torch.allclose(gradient, found, atol=1e-6)
        assert found.abs().max() > 1e-5
        with torch.no_grad():
            theirs.images.pixels -= 10.0 * found
            first, second = twin.pairs(theirs, generator)
        twin.train(first, second, theirs.batch().labels[::4])
    state = method.state_dict()["extractor"]["saved"]["network"]
    for name, value in twin.network.state_dict().items():
        assert torch.allclose(state[name], value, atol=1e-5)


def test_the_images_move_apart(new_mlp):
    method = Adversarial(inner=Still(), new_network=new_mlp, adversary_rate=0.0, diversity=1.0)
    synthetic = set_of(MultiFormation(images(), factor=2))
    first = sum(taken(method, synthetic, 0, 30.0)[0])
    for seed in range(1, 30):
        last = sum(taken(method, synthetic, seed, 30.0)[0])
    assert last < 0.9 * first


def test_the_order_of_classes_does_not_matter(new_mlp):
    pixels, order = images(), torch.tensor([4, 5, 0, 1, 2, 3])
    one, other = (
        taken(
            Adversarial(inner=Still(), new_network=new_mlp, adversary_rate=0.0),
            set_of(MultiFormation(values, factor=2)),
            0,
            0.0,
        )
        for values in (pixels, pixels[order])
    )
    assert torch.allclose(torch.stack(one[0]), torch.stack(other[0]))
    assert torch.allclose(one[1][0][order], other[1][0], atol=1e-6)


@pytest.mark.parametrize("augment", [no_augment, Dsa(("color", "crop"))])
def test_one_view_a_slot_leaves_the_inner_losses_as_they_are_and_says_so(augment, sampler, new_network):
    inner = DistributionMatching(real=sampler, new_network=new_network, augment=augment, batch_size=4)
    method = Adversarial(inner=inner, new_network=new_network, augment=augment)
    synthetic = set_of(Pixels(images()))
    plain = next(iter(inner.episode(synthetic, derive_generator(0))))
    with pytest.warns(UserWarning, match="the second player of HaBa has no effect"):
        around = next(iter(method.episode(synthetic, derive_generator(0))))
    assert torch.equal(plain, around)
    assert method.state_dict()["extractor"] == {"saved": None}


def test_soft_labels_are_of_the_class_they_name_first(new_mlp):
    logits = 20.0 * F.one_hot(torch.arange(3).repeat_interleave(2), 3)
    states = []
    for labels in (None, SoftLabels(logits)):
        method = Adversarial(inner=Still(), new_network=new_mlp, adversary_rate=0.1)
        taken(method, set_of(MultiFormation(images(), factor=2), labels), 0, 0.0)
        states.append(method.state_dict()["extractor"]["saved"]["network"])
    assert all(torch.allclose(states[0][name], states[1][name], atol=1e-6) for name in states[0])


def test_few_slots_at_a_time(new_mlp):
    seen = []

    def look(images, generator):
        seen.append(len(images))
        return images

    @dataclass(frozen=True)
    class Looking:
        per_image = staticmethod(look)

    method = Adversarial(inner=Still(), new_network=new_mlp, augment=Looking(), adversary_slots=4)
    taken(method, set_of(MultiFormation(images(), factor=2)), 0, 0.0)
    assert seen == [8] * 4


@pytest.mark.parametrize("values", [{"adversary_slots": 0}, {"contrast_temperature": 0.0}])
def test_values_out_of_range_are_refused(values, new_mlp):
    with pytest.raises(ValueError, match="adversary_slots must be at least 1 and contrast_temperature above 0"):
        Adversarial(inner=Still(), new_network=new_mlp, **values)


def test_what_the_inner_method_keeps_is_kept_too(sampler, new_network):
    inner = KernelRegression(real=sampler, new_network=new_network, batch_size=4, pool_size=2)
    method = Adversarial(inner=inner, new_network=new_network)
    taken(method, set_of(MultiFormation(images(), factor=2)), 0, 0.0)
    assert method.state_dict()["inner"].keys() == inner.state_dict().keys()
    other = KernelRegression(real=sampler, new_network=new_network, batch_size=4, pool_size=2)
    Adversarial(inner=other, new_network=new_network).load_state_dict(method.state_dict())
    assert len(other.state_dict()["members"]) == 2
    assert any(other.state_dict()["members"])


def small_haba():
    recipe = find_recipe("haba", images_per_class=3, data="digits", schedule="cpu")
    values = {
        "steps": 4,
        "width": 4,
        "depth": 2,
        "inner_steps": 2,
        "num_experts": 1,
        "training_epochs": 2,
        "max_start": 1,
    }
    return recipe.with_values(values | {"expert_epochs": 1, "hallucinators": 2, "adversary_rate": 0.1})


def test_a_killed_run_ends_with_the_same_extractor(sampler, tmp_path):
    def run(name, kill):
        recipe = small_haba()
        plan = prepare(sampler, recipe, seed=1)

        def look(progress):
            if kill and progress.step == 3:
                raise KeyboardInterrupt

        arguments = (plan.method, plan.synthetic, plan.optimizer)
        checkpoint = Checkpoint(tmp_path / name, identity={}, every_seconds=0)
        distill(*arguments, steps=4, seed=1, checkpoint=checkpoint, observers=[look])
        return plan.synthetic.state_dict(), plan.method.state_dict()["extractor"]["saved"]

    whole, extractor = run("whole", False)
    with pytest.raises(KeyboardInterrupt):
        run("killed", True)
    again, other = run("killed", False)
    assert all(torch.equal(again[name], value) for name, value in whole.items())
    assert all(torch.equal(other["network"][name], value) for name, value in extractor["network"].items())


def test_a_second_player_that_diverges_ends_the_run_and_is_not_saved(sampler, tmp_path):
    recipe = find_recipe("dm", images_per_class=1, data="digits", schedule="cpu").with_values(
        {"images": "multi-formation", "width": 4, "depth": 2, "batch_size": 4, "steps": 6}
    )
    plan = prepare(sampler, recipe, seed=0)
    method = Adversarial(inner=plan.method, new_network=plan.method.new_network, adversary_rate=1e20)
    told = r"of the second player is not finite: lower adversary_rate, 1e\+20"
    with pytest.raises(ValueError, match=told):
        distill(method, plan.synthetic, plan.optimizer, steps=6, seed=0)
    with pytest.raises(ValueError, match=told):
        Checkpoint(tmp_path / "checkpoint", identity={}).save(1, 1, {"method": method})
    assert not (tmp_path / "checkpoint").exists()
    method.load_state_dict({"extractor": {"saved": None}, "inner": {}})
    assert method.state_dict()["extractor"] == {"saved": None}  # a good state is taken up again
