"""The optimizers and decays that recipes name: they are PyTorch's, and the decays are the formulas."""

import math

import pytest
import torch

from core_distill.recipes import dc, new_optimizer, new_scheduler, prepare
from core_distill.recipes.optimizers import DECAYS, OPTIMIZERS, adam, constant, cosine, halvings


def stepped(optimizer_class, steps=5, **options):
    parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = optimizer_class([{"params": [parameter], "lr": 0.1}], **options)
    for _ in range(steps):
        optimizer.zero_grad()
        parameter.square().sum().backward()
        optimizer.step()
    return parameter.detach()


def test_they_are_pytorchs():
    ours = stepped(lambda groups: OPTIMIZERS["sgd"](groups, 0.5))
    assert torch.equal(ours, stepped(torch.optim.SGD, momentum=0.5))
    ours = stepped(lambda groups: OPTIMIZERS["adam"](groups, 0.8))
    assert torch.equal(ours, stepped(torch.optim.Adam, betas=(0.8, 0.999)))


@pytest.mark.parametrize("momentum", [1.0, 1.5, -0.1])
def test_a_beta_of_one_is_refused(momentum):
    with pytest.raises(ValueError, match=rf"beta 1 and must lie in \[0, 1\), got {momentum}"):
        adam([{"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.1}], momentum)


def test_decays():
    assert [constant(done) for done in (0, 0.3, 1)] == [1, 1, 1]
    assert cosine(0) == pytest.approx(1)
    assert cosine(0.5) == pytest.approx(0.55)
    assert cosine(1) == pytest.approx(0.1)
    assert [halvings(done) for done in (0, 0.599, 0.6, 0.8, 0.9, 1)] == [1, 1, 0.5, 0.25, 0.125, 0.125]
    assert sorted(DECAYS) == ["constant", "cosine", "halvings"]


def test_a_recipe_s_rates_go_down_together_over_its_steps(sampler):
    values = {"labels": "soft", "label_learning_rate": 2, "image_learning_rate": 1, "decay": "cosine", "steps": 4}
    tiny = dc(images_per_class=2, data="digits", schedule="cpu").with_values({"width": 4, "depth": 2})
    recipe = tiny.with_values({**values, "optimizer": "adam", "momentum": 0.9})
    optimizer = new_optimizer(prepare(sampler, recipe, seed=0).synthetic, recipe)
    scheduler, rates = new_scheduler(optimizer, recipe), []
    for _ in range(5):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    expected = [0.55 + 0.45 * math.cos(math.pi * step / 4) for step in range(5)]
    torch.testing.assert_close(torch.tensor(rates), torch.tensor([[one, 2 * one] for one in expected]))
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)
