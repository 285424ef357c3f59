"""Several processes give the set that one gives; one that is killed ends the run, and any number of them goes on."""

import functools
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from core_distill.augment import Dsa, all_operations, no_augment
from core_distill.checkpoint import Checkpoint
from core_distill.cli.main import app
from core_distill.data import ClassSampler
from core_distill.data.class_shard import ClassShard
from core_distill.distill import distill
from core_distill.randomness import derive_generator
from core_distill.recipes import RECIPES, find_recipe, prepare
from core_distill.sharding import Processes, check_class_wise, check_uniform, joined, shard
from core_distill.types import Batch

CASES = {
    "dm": {},
    "dc": {"labels": "soft", "image_learning_rate": 0.1},
    "dsa": {"outer_steps": 3},
}
STEPS, SEED, KILLED_AT = 6, 3, 4
PATIENCE = 120


def examples(sizes=(9, 4, 12, 7, 1)):
    """Five classes of different sizes, not sorted."""
    generator = derive_generator(1)
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    images = torch.randint(0, 256, (len(labels), 2, 8, 8), dtype=torch.uint8, generator=generator)
    return ClassSampler(images, labels, num_classes=6, mean=[0.5, 0.4], std=[0.25, 0.2])


def toy(name):
    recipe = find_recipe(name, images_per_class=2, data="fashion-mnist", schedule="cpu")
    small = {"steps": STEPS, "batch_size": 5, "width": 4, "depth": 2, "inner_epochs": 2, "outer_steps": 2}
    return recipe.with_values({key: value for key, value in small.items() if key in recipe.values()} | CASES[name])


def distil(name, processes, *, checkpoint=None, observers=()):
    """Losses and tensors of one distillation."""
    recipe, losses = toy(name), []
    plan = prepare(examples(), recipe, seed=SEED)
    method = shard(plan.method, plan.optimizer, processes)
    distill(
        method,
        plan.synthetic,
        plan.optimizer,
        steps=STEPS,
        seed=SEED,
        checkpoint=checkpoint,
        observers=[*observers, lambda progress: losses.append(progress.loss)],
    )
    return {"losses": torch.stack(losses), **plan.synthetic.state_dict()} if losses else plan.synthetic.state_dict()


def distil_all(folder):
    """What each process runs: every case, written by the leader."""
    with joined("cpu") as processes:
        for name in CASES:
            tensors = distil(name, processes)
            if processes.is_leader:
                safetensors.torch.save_file(tensors, folder / f"{name}.safetensors")


def checkpoint_in(folder, *, read_only=False):
    return Checkpoint(folder / "checkpoint.safetensors", identity={}, every_seconds=0, read_only=read_only)


def distil_until_killed(folder):
    """The last process kills itself in the middle."""
    with joined("cpu") as processes:

        def kill(progress):
            if progress.step == KILLED_AT and not processes.is_leader:
                os.kill(os.getpid(), signal.SIGKILL)

        distil("dsa", processes, checkpoint=checkpoint_in(folder, read_only=not processes.is_leader), observers=[kill])


def go_on(folder):
    with joined("cpu") as processes:
        tensors = distil("dsa", processes, checkpoint=checkpoint_in(folder, read_only=not processes.is_leader))
        if processes.is_leader:
            safetensors.torch.save_file(tensors, folder / "resumed.safetensors")


def start(count, what, folder):
    """`count` processes that run a function of this file; their exit codes and what they said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    program = (
        "import runpy, sys, pathlib; from core_distill.sharding import leave; "
        "runpy.run_path(sys.argv[1])[sys.argv[2]](pathlib.Path(sys.argv[3])); leave(0)"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, __file__, what, folder],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    said = [process.communicate(timeout=PATIENCE)[1] for process in started]
    return [process.returncode for process in started], said


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value.detach(), rtol=1e-4, atol=1e-5, msg=name)


def test_two_processes_give_what_one_gives(tmp_path):
    codes, said = start(2, "distil_all", tmp_path)
    assert codes == [0, 0], said
    for name in CASES:
        found = safetensors.torch.load_file(tmp_path / f"{name}.safetensors")
        assert_close(found, distil(name, Processes()))


def test_a_killed_process_ends_the_run_which_goes_on_with_one_or_more(tmp_path):
    codes, said = start(2, "distil_until_killed", tmp_path)
    assert codes == [1, -signal.SIGKILL]
    last = said[0].strip().splitlines()[-1]
    assert last.endswith(
        "LostProcessError: another process of this run died or cannot be reached; "
        "the same command goes on from the last checkpoint"
    )
    kept = (tmp_path / "checkpoint.safetensors").read_bytes()
    expected = distil("dsa", Processes())
    expected.pop("losses")
    alone = distil("dsa", Processes(), checkpoint=checkpoint_in(tmp_path))
    assert len(alone.pop("losses")) < STEPS, "it started over"
    assert_close(alone, expected)
    (tmp_path / "checkpoint.safetensors").write_bytes(kept)
    codes, said = start(2, "go_on", tmp_path)
    assert codes == [0, 0], said
    found = safetensors.torch.load_file(tmp_path / "resumed.safetensors")
    assert len(found.pop("losses")) < STEPS
    assert_close(found, expected)


ARGUMENTS = (
    "distill digits --recipe dm --ipc 1 --seed 4 --device cpu --no-baselines --networks 0 --precision float32 "
    "--set steps=3 --set width=4 --set depth=2 --set batch_size=8"
)


def test_the_command_under_torchrun(tmp_path):
    torchrun = [Path(sys.executable).with_name("torchrun"), "--nproc-per-node", "2", "-m", "core_distill.cli.main"]
    done = subprocess.run(
        [*torchrun, *ARGUMENTS.split(), "--out", tmp_path / "two"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("digits: 1295 training images") == 1, "one process speaks"
    alone = CliRunner().invoke(app, [*ARGUMENTS.split(), "--out", str(tmp_path / "one")])
    assert alone.exit_code == 0, alone.output
    two, one = (safetensors.torch.load_file(tmp_path / out / "synthetic.safetensors") for out in ("two", "one"))
    assert_close(two, one)
    assert {path.name for path in (tmp_path / "two").iterdir()} == {path.name for path in (tmp_path / "one").iterdir()}


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_rows_are_shared_out_once_and_evenly(count):
    for of in range(count, 12):
        rows = [Processes(rank, count).rows(of) for rank in range(count)]
        assert [row for part in rows for row in part] == list(range(of))
        assert max(map(len, rows)) - min(map(len, rows)) <= 1


@pytest.mark.parametrize("size", [1, 5, 20])
def test_shards_draw_together_what_the_whole_draws(size):
    whole = examples()
    batch = whole.by_class(size, derive_generator(0))
    shards = [ClassShard(whole, Processes(rank, 3).rows(5)) for rank in range(3)]
    parts = [part.by_class(size, derive_generator(0)) for part in shards]
    assert torch.equal(torch.cat([part.images for part in parts]), batch.images)
    assert torch.equal(torch.cat([part.labels for part in parts]), batch.labels)
    assert torch.equal(torch.cat([part.classes for part in shards]), whole.classes)
    with pytest.raises(ValueError, match="no flat batch over all"):
        shards[0].batch(3, derive_generator(0))


@pytest.mark.parametrize("augment", [all_operations, Dsa(("crop", "rotate")), no_augment])
@pytest.mark.parametrize("seed", range(5))
def test_shards_change_together_what_the_whole_changes(augment, seed):
    images = torch.rand(5, 3, 2, 8, 8, generator=derive_generator(9))
    batch = Batch(images, torch.zeros(5, 3, dtype=torch.int64))
    expected, _ = augment(batch, batch, derive_generator(seed))
    generators, parts = [], []
    for rank in range(3):
        rows = Processes(rank, 3).rows(5)
        own = Batch(images[rows.start : rows.stop], batch.labels[rows.start : rows.stop])
        generators.append(derive_generator(seed))
        parts.append(augment.shard(rows, 5)(own, own, generators[-1])[0].images)
    assert torch.equal(torch.cat(parts), expected.images)
    states = [generator.get_state() for generator in generators]
    assert all(torch.equal(state, states[0]) for state in states)


DM_ON_OTHER_IMAGES = {"it-gan", "kfs", "low-rank", "pranc"}


@pytest.mark.parametrize("name", sorted(set(RECIPES) - set(CASES) - DM_ON_OTHER_IMAGES))
def test_methods_whose_loss_is_no_sum_over_classes_are_refused(name):
    method = find_recipe(name, images_per_class=1).method
    with pytest.raises(ValueError, match="is not a sum over classes"):
        check_class_wise(method.func if isinstance(method, functools.partial) else method)


def test_batches_that_are_chosen_are_refused():
    recipe = find_recipe("dm", images_per_class=1)
    check_uniform(recipe.batches)
    check_uniform(functools.partial(recipe.batches))
    chosen = recipe.with_values({"batches": "representative", "refresh": 3}).batches
    with pytest.raises(
        ValueError, match=r"^batches=representative cannot be shared .*: use batches=uniform, or start one"
    ):
        check_uniform(chosen)


def test_what_cannot_be_shared_is_refused(sampler, tiny_recipe):
    class Own:
        def episode(self, synthetic, generator):
            yield from ()

    plan = prepare(sampler, tiny_recipe, seed=0)
    with pytest.raises(ValueError, match=r"3 classes cannot be shared by 4 processes: start at most 3"):
        shard(plan.method, plan.optimizer, Processes(0, 4))
    with pytest.raises(ValueError, match="Own cannot be shared by several processes"):
        shard(Own(), plan.optimizer, Processes(0, 2))
    assert shard(plan.method, plan.optimizer, Processes()) is plan.method


def test_without_torchrun_one_is_alone(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with joined("cpu") as processes, processes.leader_first():
        assert (processes.rank, processes.count, processes.is_leader) == (0, 1, True)


def test_a_process_that_is_done_leaves_with_its_words_and_no_teardown():
    program = (
        "import atexit; from core_distill.sharding import leave; atexit.register(print, 'teardown'); "
        "print('last words', end=''); leave(3)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "last words")
