"""A loss is told what it declares, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from labelattack import attacks, defenses
from labelattack.benchmark.execution.context import load, task_of
from labelattack.benchmark.plan.grid import Grid
from labelattack.defenses.base import Task
from labelattack.errors import LabelError
from labelattack.labels import PartialLabels, SideTables
from tests.conftest import SMALL_DIGITS

EVERYTHING = SideTables(
    scores=np.full((60, 10), 0.25, np.float32),
    priors=np.full(10, 0.1),
    groups=tuple("abcdef" * 10),
    parents=np.full(10, -1),
)


@pytest.fixture(scope="module")
def splits():
    return replace(load(SMALL_DIGITS), side=EVERYTHING)


@pytest.mark.parametrize("name", defenses.registry.names())
def test_a_task_has_the_declared_side_tables_and_no_label_that_was_hidden(name, splits):
    cls = defenses.registry.get(name)
    attacked = attacks.create("targeted")(splits.train.partial, seed=0)
    task = task_of(defenses.registry.resolve(name), splits, attacked, seed=0)
    given = {kind for kind in vars(EVERYTHING) if getattr(task.side, kind) is not None}
    assert given == set(cls.side_tables)
    assert task.labels == attacked
    if name == "iun":
        assert task.known == splits.train.partial
    else:
        assert task.known is None


def test_side_tables_are_part_of_the_fingerprint(splits):
    plain = load(SMALL_DIGITS)
    other = replace(splits, side=replace(EVERYTHING, priors=np.full(10, 0.2)))
    assert len({plain.fingerprint, splits.fingerprint, other.fingerprint}) == 3
    same = replace(plain, side=EVERYTHING)
    assert same.fingerprint == splits.fingerprint


def test_groups_of_the_training_images_are_a_side_table(splits):
    train = splits.train
    grouped = type(train)(train.images, train.partial, train.ids, groups=list(EVERYTHING.groups))
    found = replace(load(SMALL_DIGITS), train=grouped).side_tables
    assert found.groups == EVERYTHING.groups and found.scores is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scores": np.zeros((60, 9), np.float32)}, r"scores must have shape \(60, 10\)"),
        ({"priors": np.zeros(9)}, r"priors must have shape \(10,\), got \(9,\)"),
        ({"priors": np.full(10, 1.5)}, r"priors must have values in \[0, 1\]"),
        ({"scores": np.full((60, 10), np.nan, np.float32)}, r"scores must have values in \[0, 1\]"),
        ({"groups": ("a",)}, r"groups must have shape \(60,\), got \(1,\)"),
    ],
)
def test_side_tables_that_do_not_fit_are_refused(wrong, message, splits):
    with pytest.raises(LabelError, match=message):
        replace(splits, side=replace(EVERYTHING, **wrong))


def test_an_oracle_that_sees_the_attack_is_attacked():
    grid = Grid(
        dataset=SMALL_DIGITS, model="tiny", protocol="linear", attacks=("targeted",),
        defenses=("iun", "bce-ls"), seeds=(0,), lrs=(1.0,), reference=False,
    )  # fmt: skip
    found = {cell.loss.name: cell.attack.partition(":")[0] for cell in grid.cells("x")}
    assert found == {"iun": "targeted", "bce-ls": "none"}


def test_what_is_unknown_to_begin_with_is_unknown_to_the_oracle():
    """It is told labels that an attack hid, and no more than the dataset has."""
    values = np.array([[True, False, False]])
    known = PartialLabels(values, np.array([[True, True, False]]))
    loss = defenses.create("iun")
    loss.bind(Task(labels=known.keep(np.array([True, False])), known=known))
    assert loss.true_negatives.tolist() == [[False, True, False]]
