"""What is compiled and when; that it computes the same; and that whatever goes wrong leaves the eager path."""

import functools
import os
import subprocess
import sys
import warnings

import pytest
import torch

from core_distill.checkpoint import Checkpoint
from core_distill.engine import (
    Engine,
    Session,
    class_gradients,
    compiled,
    features,
    kernels,
    logits,
    parameters_of,
    running_on,
    settings,
)
from core_distill.networks import ConvNet, network_factory
from core_distill.randomness import derive_generator


@pytest.fixture
def at_once(monkeypatch):
    """Everything is compiled at its first call, and forgotten afterwards."""
    monkeypatch.setattr(settings, "_WORTH_COMPILING", {"cpu": 0.0})
    monkeypatch.setattr(compiled, "_kept", {})


@pytest.fixture
def network(new_network):
    return new_network(derive_generator(1))


@pytest.fixture
def batch(sampler):
    return sampler.by_class(4, derive_generator(0))


def measure(network, batch):
    """Gradients, a product differentiated to the images, and features with a gradient: every compiled function."""
    images = batch.images.clone().requires_grad_()
    gradients = class_gradients(network, parameters_of(network), batch._replace(images=images))
    (back,) = torch.autograd.grad(torch.stack([g.square().sum() for g in gradients]).sum(), images)
    seen = batch.images.flatten(0, 1).clone().requires_grad_()
    embedded = features(network, seen)
    return [
        *(g.detach() for g in gradients),
        back,
        embedded.detach(),
        *torch.autograd.grad(embedded.square().sum(), seen),
    ]


def assert_close(found, expected, tolerance):
    """To a part of the largest number among all, since some gradients (a bias before a norm) are all rounding."""
    largest = max(float(value.abs().max()) for value in expected)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * largest)


def test_compiled_and_eager_agree_and_other_networks_of_the_kind_share_the_code(at_once, new_network, batch):
    told = []
    with running_on(Engine(), tell=told.append):
        for seed in (1, 2):
            network = new_network(derive_generator(seed))
            fast = measure(network, batch)
            with running_on(Engine(compile=False)):
                assert_close(fast, measure(network, batch), 1e-4)
    assert sum(text.startswith("compiling") for text in told) == 4
    assert sum(text.startswith("compiled") for text in told) == 4


def test_compiled_bfloat16_is_as_close_as_eager_bfloat16(at_once, network, batch):
    def of(engine):
        with running_on(engine):
            return torch.cat([value.flatten() for value in class_gradients(network, parameters_of(network), batch)])

    exact = of(Engine(compile=False))
    fast, slow = (of(Engine(precision="bfloat16", compile=fast)) for fast in (True, False))
    assert 0 < (fast - exact).norm() < 1.25 * (slow - exact).norm()


def test_short_work_stays_eager_and_the_count_decides(monkeypatch, network, batch):
    monkeypatch.setattr(compiled, "_kept", {})
    with running_on(Engine(), tell=lambda what: pytest.fail(what)) as session:
        measure(network, batch)
    assert len(session.work) == 4
    once = dict(session.work)
    with running_on(Engine()) as session:
        measure(network, batch)
        measure(network, batch)
    assert session.work == {name: 2 * count for name, count in once.items()}


def test_the_count_is_saved_with_a_checkpoint(tmp_path):
    first, second = Session(Engine()), Session(Engine())
    first.work["some gradient"] = 3.0
    checkpoint = Checkpoint(tmp_path / "c.safetensors", identity={})
    checkpoint.save(1, 1, {"engine": first})
    checkpoint.resume({"engine": second})
    assert second.work == {"some gradient": 3.0}


def test_a_compiled_form_that_differs_is_not_used(at_once, monkeypatch, network, batch):
    right = compiled._compile
    monkeypatch.setattr(compiled, "_compile", lambda *a: lambda *v: [2 * r for r in right(*a)(*v)])
    expected = class_gradients(network, parameters_of(network), batch)
    with (
        running_on(Engine()),
        pytest.warns(UserWarning, match="gradient runs uncompiled: its compiled form differs by 1"),
    ):
        found = class_gradients(network, parameters_of(network), batch)
    assert all(map(torch.equal, found, expected))


def test_a_resumed_run_stays_uncompiled_where_it_fell_back(at_once, monkeypatch, tmp_path, network, batch):
    """In another process, on another batch, the same check might find otherwise; so it is not made again."""
    right = compiled._compile
    monkeypatch.setattr(compiled, "_compile", lambda *a: lambda *v: [2 * r for r in right(*a)(*v)])
    checkpoint = Checkpoint(tmp_path / "c.safetensors", identity={})
    with running_on(Engine()) as before, pytest.warns(UserWarning, match="runs uncompiled"):
        expected = class_gradients(network, parameters_of(network), batch)
    checkpoint.save(1, 1, {"engine": before})

    monkeypatch.setattr(compiled, "_compile", right)
    monkeypatch.setattr(compiled, "_kept", {})  # a new process
    told = []
    resumed = Session(Engine(), told.append)
    checkpoint.resume({"engine": resumed})
    with running_on(resumed), warnings.catch_warnings():
        warnings.simplefilter("error")
        found = class_gradients(network, parameters_of(network), batch)
    assert all(map(torch.equal, found, expected))
    assert resumed.state_dict() == before.state_dict()
    assert len(resumed.uncompiled) == 1
    assert told == ["some work stays uncompiled, as before this run was stopped"]

    told.clear()
    with running_on(Session(Engine(), told.append)) as other:
        class_gradients(network, parameters_of(network), batch)
    assert other.uncompiled == set()
    assert told, "another run tries for itself"


def test_a_run_notes_a_fall_back_that_another_run_of_the_process_found(at_once, monkeypatch, network, batch):
    monkeypatch.setattr(compiled, "_compile", lambda *a: 1 / 0)
    with running_on(Engine()) as first, pytest.warns(UserWarning, match="ZeroDivisionError"):
        class_gradients(network, parameters_of(network), batch)
    with running_on(Engine()) as second:
        class_gradients(network, parameters_of(network), batch)
    assert len(first.uncompiled) == 1
    assert second.uncompiled == first.uncompiled


def test_a_checkpoint_of_before_the_verdicts_still_loads():
    session = Session(Engine(), uncompiled={"a gradient"})
    session.load_state_dict({"work": {"some gradient": 3.0}})
    assert session.state_dict() == {"work": {"some gradient": 3.0}, "uncompiled": []}


def test_a_compiler_that_fails_leaves_the_eager_path_and_is_asked_once(at_once, monkeypatch, network, batch):
    def broken(*arguments):
        raise RuntimeError("no C++ compiler\nlong story")

    monkeypatch.setattr(compiled, "_compile", broken)
    expected = class_gradients(network, parameters_of(network), batch)
    with running_on(Engine()), pytest.warns(UserWarning, match=r"RuntimeError \(no C\+\+ compiler\)") as caught:
        found = [class_gradients(network, parameters_of(network), batch) for _ in range(2)]
    assert len(caught) == 1
    assert all(map(torch.equal, found[1], expected))


@pytest.mark.parametrize("change", ["own module", "dropout", "hook", "buffers"])
def test_networks_that_one_trace_cannot_stand_for_stay_eager(at_once, network, batch, change):
    if change == "own module":
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    elif change == "dropout":
        network.blocks.append(torch.nn.Dropout(0.0))
    elif change == "hook":
        network.blocks[0].register_forward_hook(lambda *_: None)
    else:
        network.register_buffer("counter", torch.zeros(1))
    with warnings.catch_warnings(), running_on(Engine(), tell=lambda what: pytest.fail(what)):
        warnings.simplefilter("error")
        class_gradients(network, parameters_of(network), batch)


def test_engine_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="float32 or bfloat16, got 'float16'"):
        Engine(precision="float16")
    with pytest.raises(ValueError, match="piece must be 0"):
        Engine(piece=-1)


def test_factories_of_one_kind_have_one_name_and_others_another():
    def kind(width):
        return network_factory(functools.partial(ConvNet, width=width), (1, 8, 8), 3).name

    assert kind(4) == kind(4) != kind(8)
    assert "0x" not in kind(4)


def test_kinds_that_only_look_alike_do_not_share_code(at_once, batch):
    """Two norms of one name and equal parameters: what tells them apart is the function itself."""

    def network(norm):
        return network_factory(functools.partial(ConvNet, width=4, depth=2, norm=norm), (1, 8, 8), 3)(
            derive_generator(0)
        )

    networks = [network(lambda channels, groups=groups: torch.nn.GroupNorm(groups, channels)) for groups in (1, 4)]
    images = batch.images.flatten(0, 1)
    with running_on(Engine()):
        found = [logits(one, images) for one in networks]
    for one, ours in zip(networks, found, strict=True):
        torch.testing.assert_close(ours, one(images).detach(), rtol=1e-3, atol=1e-4)


def test_a_failure_without_a_word_still_leaves_the_eager_path(at_once, monkeypatch, network, batch):
    def broken(*arguments):
        raise NotImplementedError

    monkeypatch.setattr(compiled, "_compile", broken)
    with running_on(Engine()), pytest.warns(UserWarning, match="no reason given"):
        class_gradients(network, parameters_of(network), batch)


def test_a_first_convolution_has_the_gradients_of_pytorch(at_once, new_network, batch):
    """Its replacement stands in every trace of a ConvNet; odd strides and paddings here."""
    first = torch.nn.Conv2d(2, 5, 3, stride=2, padding=(1, 2), dilation=1)
    images = torch.randn(4, 2, 9, 7)
    cotangent = torch.randn_like(first(images))
    theirs = torch.autograd.grad(first(images), [first.weight, first.bias], cotangent)
    _, weight, bias = kernels._convolution_backward(
        cotangent, images, first.weight, [5], [2, 2], [1, 2], [1, 1], False, [0, 0], 1, [False, True, True]
    )
    torch.testing.assert_close([weight, bias], list(theirs), rtol=1e-4, atol=1e-5)
    forward = kernels._convolution(images, first.weight, first.bias, [2, 2], [1, 2], [1, 1], False, [0, 0], 1)
    torch.testing.assert_close(forward, first(images), rtol=1e-4, atol=1e-5)


def test_images_that_come_out_of_a_graph_are_traced_without_it(at_once, network, batch):
    """Augmented images are no leaves; asked for their gradient, PyTorch warns, and warnings are errors here."""
    images = batch.images.clone().requires_grad_() * 1.0
    with running_on(Engine()) as session:
        gradients = class_gradients(network, parameters_of(network), batch._replace(images=images))
    assert session.work == {}
    assert all(gradient.requires_grad for gradient in gradients)


def test_half_a_file_in_the_cache_is_made_again(tmp_path, network, batch):
    """What a process leaves that is killed while it compiles; each process here is a new one, as libraries stay loaded."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}

    def run():
        return subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True, check=False)

    first = run()
    assert (first.returncode, first.stderr) == (0, "")
    libraries = list((tmp_path / "cache").rglob("*.so"))
    assert libraries
    for library in libraries:
        library.write_bytes(b"")
    again = run()
    assert (again.returncode, again.stderr, again.stdout) == (0, "", first.stdout)


PROGRAM = """
import functools
import torch
from core_distill.engine import Engine, Session, features, running_on
from core_distill.networks import ConvNet, network_factory
from core_distill.randomness import derive_generator

network = network_factory(functools.partial(ConvNet, width=4, depth=1), (1, 4, 4), 2)(derive_generator(0))
told = []
with running_on(Session(Engine(), told.append, long=True)):
    print(features(network, torch.ones(2, 1, 4, 4)).sum().item(), told[0])
"""
