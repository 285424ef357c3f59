"""Training the generator of latent images."""

import pytest
import torch

from core_distill.checkpoint import Checkpoint
from core_distill.training import generator_training
from core_distill.training.generator_training import GeneratorTraining, trained_generator


def test_training_of_a_generator_that_was_stopped_goes_on(sampler, tmp_path, monkeypatch):
    """To the same bytes, from what the last checkpoint holds, which is gone in the end."""
    training = GeneratorTraining(latent=8, width=4, steps=7)
    whole = trained_generator(sampler, training, folder=tmp_path / "whole")
    monkeypatch.setattr(Checkpoint, "is_due", lambda self: True)
    follow, seen = generator_training._follow, []

    def stop(averaged, made, keep):
        seen.append(keep)
        if len(seen) == 4:
            raise KeyboardInterrupt
        follow(averaged, made, keep)

    monkeypatch.setattr(generator_training, "_follow", stop)
    with pytest.raises(KeyboardInterrupt):
        trained_generator(sampler, training, folder=tmp_path)
    resumed = trained_generator(sampler, training, folder=tmp_path)
    assert len(seen) == 4 + 7 - 3
    assert all(torch.equal(resumed.state_dict()[name], value) for name, value in whole.state_dict().items())
    assert [path.suffix for path in tmp_path.iterdir() if path.is_file()] == [".safetensors"]
