"""Ties, bounds, phases and settings of losses with state or a table of scores."""

import numpy as np
import pytest
import torch

from labelattack import defenses
from labelattack.defenses.base import Task
from labelattack.defenses.terms import lowest
from labelattack.errors import DefenseError
from labelattack.labels import PartialLabels, SideTables
from tests.formulas.stateful import GPR, gpr_of
from tests.test_stateful_losses import (
    IMAGES,
    LABELS,
    assert_agrees,
    attacked,
    bound,
    logits,
    predictions,
    step_of,
)


def bound_alone(spec, labels, **side):
    loss = defenses.create(spec)
    loss.bind(Task(labels=labels, side=SideTables(**side), expected_positives=1.0))
    return loss


def test_of_equal_scores_the_earlier_image_is_chosen():
    scores = torch.tensor([[0.5, 0.1], [0.5, 0.2], [0.2, 0.1], [0.5, 0.1]])
    among = torch.tensor([[True, True], [True, True], [True, True], [True, False]])
    assert lowest(scores, among, [2, 9]).int().tolist() == [[1, 1], [0, 1], [1, 1], [0, 0]]
    assert not lowest(scores, among, [0, 0]).any()


def test_pseudo_labels_of_equal_predictions_go_to_the_earlier_images():
    labels = PartialLabels(np.zeros((6, 2), bool), np.zeros((6, 2), bool))
    loss = bound_alone("em-apl:warmup=1,theta=1", labels)
    for epoch, chosen in [(1, 2), (2, 4), (3, 6), (4, 6)]:
        loss.end_epoch(torch.full((6, 2), -100.0), step_of(labels, range(6), epoch))
        # A prediction of 0 is a soft label too.
        assert (loss.soft == 0).sum(0).tolist() == [chosen, chosen]
        assert (loss.soft[:chosen] == 0).all()


def test_em_apl_chooses_nothing_without_epochs_after_the_warm_up():
    labels = attacked("targeted")
    loss = bound("em-apl", labels)
    for epoch in range(1, 6):
        loss.end_epoch(predictions(epoch), step_of(labels, range(IMAGES), epoch, epochs=5))
    assert (loss.soft == -1).all()


def test_a_fixed_threshold_is_exceeded_not_met_and_permanent():
    labels = PartialLabels(np.zeros((2, 1), bool), np.zeros((2, 1), bool))
    loss = bound_alone("pseudo-threshold:theta=0.5,warmup=2", labels)
    steps = [step_of(labels, range(2), epoch) for epoch in (1, 2, 3)]
    for step, z, wanted in zip(
        steps, ([[5], [5]], [[0], [0.1]], [[0], [-5]]), (0, 1, 1), strict=True
    ):
        loss.end_epoch(torch.tensor(z, dtype=torch.float32), step)
        assert loss.pseudo.sum() == wanted
    assert loss.pseudo.tolist() == [[False], [True]]


def test_csl_ignores_the_earlier_of_equal_entries_over_the_whole_batch():
    hidden = PartialLabels(np.zeros((2, 3), bool), np.zeros((2, 3), bool))
    loss = bound_alone("csl:likeliest=2", hidden, priors=np.array([0.1, 0.2, 0.3]))
    z = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]], requires_grad=True)
    loss(z, step_of(hidden, range(2), 1)).backward()
    # 2 * 2 entries of five equal ones, all of the first image before those of the second.
    assert (z.grad == 0).int().tolist() == [[1, 0, 1], [1, 1, 0]]


def test_csl_with_fewer_unknown_entries_than_it_ignores():
    labels = attacked("random:rate=0.1")
    loss = bound_alone("csl:likeliest=7", labels, priors=np.full(LABELS, 0.1))
    z = logits()
    loss(z, step_of(labels, range(IMAGES), 1)).backward()
    known = torch.tensor(labels.observed)
    assert torch.equal(z.grad != 0, known)


def test_csl_leaves_out_classes_above_eta_and_they_count_among_the_likeliest():
    hidden = PartialLabels(np.zeros((1, 3), bool), np.zeros((1, 3), bool))
    loss = bound_alone("csl:likeliest=1,eta=0.4", hidden, priors=np.array([0.41, 0.4, 0.0]))
    z = torch.tensor([[9.0, 1.0, 2.0]], requires_grad=True)
    loss(z, step_of(hidden, range(1), 1)).backward()
    assert (z.grad != 0).tolist() == [[False, True, True]]


def test_csl_first_phase_is_known_only_unless_there_is_no_negative():
    for attack, assumed in (("random", False), ("targeted", True), ("single-positive", True)):
        labels = attacked(attack)
        loss = bound("csl:warmup=2", labels, side=False)
        for epoch in (1, 2):
            z = logits()
            loss(z, step_of(labels, range(IMAGES), epoch)).backward()
            known = torch.tensor(labels.observed)
            assert torch.equal(z.grad != 0, known | torch.full_like(known, assumed))
            loss.end_epoch(predictions(epoch), step_of(labels, range(IMAGES), epoch))
        wanted = predictions(2).sigmoid().mean(0)
        assert torch.equal(loss.prior, wanted)
        loss.end_epoch(predictions(3), step_of(labels, range(IMAGES), 3))
        assert torch.equal(loss.prior, wanted)


def test_given_priors_need_no_first_phase_and_stay():
    labels = attacked("random")
    loss = bound("csl:warmup=1", labels)
    before = loss.prior.clone()
    loss.end_epoch(predictions(1), step_of(labels, range(IMAGES), 1))
    assert torch.equal(loss.prior, before) and before.max() <= 1


def test_crisp_takes_equal_scores_together_and_keeps_priors_without_positives():
    positives = np.array([[1, 0], [1, 0], [0, 0], [0, 0]], dtype=bool)
    labels = PartialLabels(positives, positives)
    loss = bound_alone("crisp", labels)
    assert loss.prior.tolist() == [0.5, 0.0] and loss.scale.tolist() == [2.0, 4.0]
    z = torch.tensor([[3.0, 3.0], [1.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    loss.end_epoch(z, step_of(labels, range(4), 1))
    # At 3 the bound is .25 / .5 + ..., at 1 it is .75 / 1 + ... with half as wide a margin.
    assert loss.prior.tolist() == [0.75, 0.0]


# --- losses from scores


@pytest.mark.parametrize("preset", GPR)
@pytest.mark.parametrize(("epoch", "epochs"), [(1, 1), (1, 8), (5, 8), (8, 8)])
def test_gpr_presets_over_epochs(preset, epoch, epochs):
    labels = attacked("random")
    loss = bound(f"gpr:preset={preset}", labels)
    step = step_of(labels, range(16), epoch, epochs)
    assert_agrees(gpr_of(preset), loss, logits(16), step)


def test_pseudo_positives_are_hidden_entries_above_the_threshold():
    labels = attacked("random")
    hidden = torch.tensor(labels.hidden)
    scores = np.random.default_rng(0).random((IMAGES, LABELS), dtype=np.float32)
    scores[:2] = np.float32(0.5)
    of = torch.from_numpy(scores)
    for spec, wanted in (
        ("vlpl", of > 0.3),
        ("vlpl:threshold=0.5", of > 0.5),
        ("gpr", of >= 0.5),
        ("gpr:preset=nus-wide", of >= 0.6),
        ("gpr:preset=cub", of >= 0.005),
    ):
        assert torch.equal(bound_alone(spec, labels, scores=scores).pseudo, wanted & hidden)


def test_settings_override_presets():
    for spec, wanted in (
        ("em-apl:preset=cub", (0.01, 3, 0.4)),
        ("em-apl:preset=cub,alpha=0.5,warmup=7", (0.5, 7, 0.4)),
        ("em-apl:preset=coco,beta=0", (0.1, 5, 0)),
        ("em-apl:preset=nus-wide", (0.1, 4, 0.2)),
        ("em-apl", (0.2, 5, 0.02)),
    ):
        loss = defenses.create(spec)
        assert (loss.alpha, loss.warmup, loss.beta) == wanted
    warm = [
        defenses.create(f"pseudo-threshold:preset={p}").warmup
        for p in ("voc", "coco", "nus-wide", "cub")
    ]
    assert warm == [2, 5, 5, 15]


def test_scores_must_come_from_somewhere():
    labels = attacked("targeted")
    wanted = r"'vlpl' needs scores of another model.*vlpl:scores=FILE \(csv, parquet or npz\)"
    with pytest.raises(DefenseError, match=wanted):
        bound_alone("vlpl", labels)
    with pytest.raises(DefenseError, match=r"must have shape \(40, 7\), got \(40, 6\)"):
        bound_alone("gpr", labels, scores=np.zeros((40, 6), np.float32))
