"""Which entries large-loss rejects or corrects, on matrices small enough to follow by hand."""

import copy

import numpy as np
import pytest
import torch

from labelattack import defenses
from labelattack.defenses.base import Task, to_step
from labelattack.errors import ParameterError
from labelattack.labels import PartialLabels
from tests.formulas.terms import minus, plus

FOR_GOOD = "mode=correct-permanently"


def labels_of(signs):
    """Labels from rows of 1, -1 and 0 for hidden."""
    signs = np.array(signs)
    return PartialLabels(signs > 0, signs != 0)


def bound(options, labels):
    loss = defenses.create(f"large-loss:{options}")
    loss.bind(Task(labels=labels))
    return loss


def outcome(loss, labels, z, epoch=2, epochs=3):
    """For each entry what it cost: + for -log p, - for -log(1 - p), 0 for nothing."""
    z = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    value = loss(z, to_step(labels, torch.arange(len(z)), epoch=epoch, epochs=epochs))
    value.backward()
    slopes = (z.grad * z.numel()).flatten().tolist()
    signs = "".join("0" if g == 0 else "+" if g < 0 else "-" for g in slopes)
    costs = {"+": plus, "-": minus, "0": lambda x: 0.0}
    expected = sum(costs[s](x) for s, x in zip(signs, z.flatten().tolist(), strict=True))
    assert value.item() == pytest.approx(expected / z.numel())
    return signs


def marks(loss):
    return "".join("x" if mark else "." for mark in loss.corrected.flatten().tolist())


ROW = labels_of([[1, -1, 0, 0, 0, 0]])
Z = [[-4.0, 5.0, 1.0, 3.0, -2.0, 2.0]]  # hidden entries from the largest: 3, 5, 2, 4


@pytest.mark.parametrize(("mode", "sign"), [("reject", "0"), ("correct", "+")])
def test_more_go_with_each_epoch(mode, sign):
    loss = bound(f"mode={mode},delta=0.1", ROW)
    # k = ceil(6 * (t - 1) * 0.1): none, 1, 2, 2, 3.
    expected = ["+-----", "+--s--", "+--s-s", "+--s-s", "+-ss-s"]
    for epoch, signs in enumerate(expected, start=1):
        assert outcome(loss, ROW, Z, epoch, 5) == signs.replace("s", sign)


def test_delta_is_a_fraction_of_all_entries_of_the_batch():
    labels = labels_of(np.zeros((100, 10)))
    z = np.linspace(-3, 3, 1000).reshape(100, 10).tolist()
    for delta, epoch, gone in [
        ("0.002", 2, 2),
        ("0.002", 4, 6),
        ("0.003", 4, 9),  # 0.003 * 3 * 1000 is more than 9 in floating point
        ("0.0021", 2, 3),
        ("0.2", 2, 200),
    ]:
        assert outcome(bound(f"delta={delta}", labels), labels, z, epoch).count("0") == gone
    with pytest.raises(ParameterError):
        defenses.create("large-loss:delta=2")


def test_all_that_are_equal_to_the_threshold_go():
    z = [[-4.0, 5.0, 2.0, 3.0, 2.0, 2.0]]
    for mode, sign in (("reject", "0"), ("correct", "+")):
        # k = 2, and the second largest is three times there.
        assert outcome(bound(f"mode={mode},delta=0.3", ROW), ROW, z) == "+-ssss".replace("s", sign)


@pytest.mark.parametrize("options", ["delta=1", f"delta=1,{FOR_GOOD}", "delta=1,mode=correct"])
def test_observed_entries_never_go_where_k_exceeds_the_hidden_ones(options):
    sign = "+" if "mode" in options else "0"
    loss = bound(options, ROW)
    assert outcome(loss, ROW, Z) == "+-ssss".replace("s", sign)
    if FOR_GOOD in options:
        assert marks(loss) == "..xxxx"
    known = labels_of([[1, -1, -1, 1]])
    assert outcome(bound(options, known), known, [[-9.0, 9.0, 1.0, 1.0]]) == "+--+"


def test_permanent_corrections_over_three_epochs():
    labels = labels_of([[1, 0, 0, 0], [0, 0, -1, 0]])
    loss = bound(
        f"{FOR_GOOD},delta=0.3", labels
    )  # k = ceil(8 * 0.3) = 3 in each epoch from the 2nd
    z = [[0.0, 5.0, 4.0, 1.0], [3.0, 2.0, 9.0, -1.0]]
    assert outcome(loss, labels, z, 1) == "+-------"
    assert marks(loss) == "........"
    # The threshold is 3: three are corrected in this step, the two above it for good.
    assert outcome(loss, labels, z, 2) == "+++-+---"
    assert marks(loss) == ".xx....."
    # Those two are no candidates now, however large or small; of the rest 3, 2 and 1 are largest.
    z = [[0.0, 9.0, -9.0, 1.0], [3.0, 2.0, 9.0, -1.0]]
    resumed = bound(f"{FOR_GOOD},delta=0.3", labels)
    resumed.load_state_dict(copy.deepcopy(loss.state_dict()))
    for one in (loss, resumed):
        assert outcome(one, labels, z, 3) == "++++++--"
        assert marks(one) == ".xx.xx.."


def test_an_image_keeps_its_marks_in_other_batches():
    labels = labels_of([[0, 0], [0, 0], [0, 0]])
    loss = bound(f"{FOR_GOOD},delta=1", labels)
    z = torch.tensor([[2.0, -1.0], [1.0, 1.5]], dtype=torch.float64)
    loss(z, to_step(labels, torch.tensor([2, 0]), epoch=2, epochs=3))
    assert marks(loss) == "xx..x."  # all but the smallest, which is the threshold


def test_ties_at_the_threshold_are_corrected_for_good_as_boostlu_does():
    z = [[-4.0, 5.0, 2.0, 3.0, 2.0, -2.0]]  # k = 2: 3 and, equal, 2 and 2
    for options, expected in {
        "preset=coco": "...x..",
        "preset=boostlu": "..xxx.",
        "preset=boostlu,ties=false": "...x..",
        "ties=true": "..xxx.",
    }.items():
        loss = bound(f"{options},{FOR_GOOD},delta=0.3", ROW)
        assert outcome(loss, ROW, z) == "+-+++-"
        assert marks(loss) == expected, options


def test_presets_are_those_of_the_authors_in_per_cent():
    per_cent = {
        "voc": (0.2, 0.2, 0.1),
        "coco": (0.4, 0.2, 0.2),
        "nus-wide": (0.4, 0.2, 0.2),
        "cub": (0.4, 0.4, 0.2),
        "boostlu": (0.5, 0.2, 0.1),
    }
    for preset, values in per_cent.items():
        for mode, value in zip(("reject", "correct", "correct-permanently"), values, strict=True):
            loss = defenses.create(f"large-loss:preset={preset},mode={mode}")
            assert loss.delta == pytest.approx(value / 100)
    assert defenses.create("large-loss").delta == 0.002


def test_only_permanent_corrections_take_memory():
    assert bound("mode=correct", ROW).corrected.numel() == 0
    assert bound(FOR_GOOD, ROW).corrected.shape == (1, 6)
