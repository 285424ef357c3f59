import json

import pytest

from core_distill.checkpoint import Checkpoint
from core_distill.methods import DistributionMatching
from privacy import Ledger, Release, SecretSeed, admit, rdp_epsilon

ONE = Release(noise_multiplier=1.0, sampling_rate=0.1)


def test_equal_releases_are_counted_and_others_kept_in_order():
    ledger = Ledger()
    for release in (ONE, ONE, Release(noise_multiplier=2.0, sampling_rate=0.1), ONE):
        ledger.charge(release)
    assert [(entry.noise_multiplier, entry.count) for entry in ledger.releases] == [(1.0, 2), (2.0, 1), (1.0, 1)]
    assert ledger.num_releases == 4
    assert ledger.epsilon(1e-5) == pytest.approx(rdp_epsilon(ledger.releases, 1e-5))


def test_resuming_charges_neither_twice_nor_too_little(tmp_path):
    checkpoint = Checkpoint(tmp_path / "checkpoint.safetensors", identity={})
    ledger, secret = Ledger(), SecretSeed()
    ledger.charge(ONE)
    checkpoint.save(1, 1, {"ledger": ledger, "secret": secret})
    ledger.charge(ONE)  # after the last save: lost with the kill, and done again by the resumed run
    resumed, again = Ledger(), SecretSeed()
    checkpoint.resume({"ledger": resumed, "secret": again})
    resumed.charge(ONE)
    assert resumed.num_releases == 2
    assert resumed.digest() == ledger.digest()
    assert again.generator("noise", 1).initial_seed() == secret.generator("noise", 1).initial_seed()


def test_the_digest_names_the_content():
    ledger, other = Ledger(), Ledger()
    ledger.charge(ONE)
    other.load_state_dict(json.loads(json.dumps(ledger.state_dict())))
    assert ledger.digest() == other.digest()
    other.charge(ONE)
    assert ledger.digest() != other.digest()


@pytest.mark.parametrize("state", [{}, {"releases": [{"noise_multiplier": 1.0, "colour": 3}]}])
def test_a_damaged_state_is_refused(state):
    with pytest.raises(ValueError, match="a ledger's state has"):
        Ledger().load_state_dict(state)


def test_a_saved_release_without_noise_is_refused():
    entry = {"noise_multiplier": 0.0, "sampling_rate": 0.1}
    with pytest.raises(ValueError, match="noise_multiplier"):
        Ledger().load_state_dict({"releases": [entry]})


class Peeking:
    private = False


def test_paths_nobody_charges_for_are_refused_all_at_once():
    with pytest.raises(ValueError, match=r"Peeking.*start from noise.*normalisation constants"):
        admit(Peeking(), initialised_from_real=True, public_normalisation=False)
    looks = {"images_look_at_data": True, "labels_look_at_data": True, "uniform_batches": False, "has_experts": True}
    for name, told in zip(looks, ("images=pixels", "labels=hard", "batches=uniform", "without them"), strict=True):
        with pytest.raises(ValueError, match=f"^no privacy guarantee is possible: [^;]*; [^;]*{told}[^;]*$"):
            admit(DistributionMatching, initialised_from_real=False, public_normalisation=True, **{name: looks[name]})
    admit(DistributionMatching, initialised_from_real=False, public_normalisation=True)


def test_secrets_differ_unless_given():
    assert SecretSeed().generator("noise").initial_seed() != SecretSeed().generator("noise").initial_seed()
    assert SecretSeed(3).generator("noise").initial_seed() == SecretSeed(3).generator("noise").initial_seed()
    with pytest.raises(ValueError, match="secret seed's state"):
        SecretSeed().load_state_dict({})
