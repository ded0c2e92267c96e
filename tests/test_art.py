import numpy as np
import pytest

from labelattack import attacks
from labelattack.errors import LabelError, UnknownNameError


@pytest.fixture(scope="module", autouse=True)
def _art_writes_elsewhere(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ART_DATA_PATH", str(tmp_path_factory.mktemp("art")))
        yield


def test_poison_hides_labels_and_passes_inputs_through():
    from art.attacks.attack import PoisoningAttackBlackBox

    from labelattack.interop.art import LabelRemoval

    x = np.zeros((30, 4))
    y = (np.random.default_rng(0).random((30, 5)) < 0.4).astype(np.float32)
    attack = LabelRemoval("targeted:rate=0.5", seed=3)
    assert isinstance(attack, PoisoningAttackBlackBox)
    same, poisoned = attack.poison(x, y)
    assert same is x
    left = attacks.create("targeted:rate=0.5")(y == 1, seed=3)
    assert np.array_equal(poisoned == 1, left.positives)
    assert np.array_equal(poisoned == 0, left.hidden)


def test_wrong_input():
    from labelattack.interop.art import LabelRemoval

    with pytest.raises(UnknownNameError):
        LabelRemoval("targetted")
    with pytest.raises(LabelError):
        LabelRemoval("none").poison(np.zeros(1))
