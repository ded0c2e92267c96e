"""Losses with state: three epochs traced by plain loops, ties, and resuming in the middle."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from labelattack import attacks, defenses
from labelattack.defenses.base import Task, to_step
from labelattack.defenses.terms import lowest
from labelattack.errors import DefenseError
from labelattack.labels import PartialLabels, SideTables, encode
from labelattack.testing import example_labels
from labelattack.testing.defenses import example_task
from labelattack.training.vectorized import vmapped_loss
from labelattack.training.vectorized.vectorize import vectorize
from labelattack.training.vectorized.vmapped_loss import VmappedLoss
from tests.formulas.basic import K
from tests.formulas.stateful import FORMULAS, GPR, gpr_of
from tests.formulas.terms import sigmoid

IMAGES, LABELS = 40, 7
BATCHES = [[*range(0, 16)], [*range(16, 40)]]
SPECS = {
    "em-apl": "em-apl:warmup=1",
    "csl": "csl:warmup=1",
    "crisp": "crisp",
    "pseudo-threshold": "pseudo-threshold:warmup=1",
    "sat": "sat:start=1",
    "elr": "elr",
    "vlpl": "vlpl",
    "gpr": "gpr:preset=coco",
}
QUANTILE = "pseudo-threshold:warmup=1,threshold=class-quantile"
TRACED = [
    *list(SPECS.items())[:6],
    ("pseudo-threshold", QUANTILE),
    ("sat", "sat:start=1,scope=hidden"),
    ("csl", "csl:warmup=1,preset=fpc,likeliest=2"),
]


def attacked(attack):
    return attacks.create(attack)(example_labels(), seed=1)


def bound(spec, labels, *, side=True):
    loss = defenses.create(spec)
    task = replace(example_task(spec, labels, seed=0), expected_positives=K)
    loss.bind(task if side else replace(task, side=SideTables()))
    return loss


def started(spec, labels):
    """Bound; csl without the priors of the task, so that it estimates them."""
    return bound(spec, labels, side=not spec.startswith("csl"))


def logits(rows=IMAGES, seed=0, *, dtype=torch.float64):
    values = np.random.default_rng(seed).normal(0, 2, (rows, LABELS))
    return torch.tensor(values, dtype=dtype, requires_grad=True)


def step_of(labels, rows, epoch, epochs=4):
    return to_step(labels, torch.as_tensor(rows), epoch=epoch, epochs=epochs)


def predictions(epoch):
    """End-of-epoch logits, float32 as they are given."""
    return logits(seed=100 + epoch, dtype=torch.float32).detach()


def states(labels):
    signs = encode(labels, "signed").tolist()
    return [(i, j, signs[i][j]) for i in range(IMAGES) for j in range(LABELS)]


def sigmoids(epoch):
    """As float32, as the losses see them, in a list of rows."""
    return predictions(epoch).sigmoid().tolist()


def assert_agrees(formula, loss, z, step, *, places=((0, 0), (3, 2), (7, 6), (11, 4))):
    """Value and gradient of a step, with its effect on a copy's state."""
    before = copy.deepcopy(loss)
    value = loss(z, step)
    (gradient,) = torch.autograd.grad(value, z)
    still = z.tolist()
    assert value.item() == pytest.approx(formula(still, still, step, before), rel=1e-6, abs=1e-7)
    for i, j in places:
        sides = []
        for nudge in (1e-5, -1e-5):
            moved = z.detach().clone()
            moved[i, j] += nudge
            sides.append(formula(moved.tolist(), still, step, before))
        slope = (sides[0] - sides[1]) / 2e-5
        assert gradient[i, j].item() == pytest.approx(slope, abs=1e-6, rel=1e-6)


# --- state after an epoch, by loops; each takes the state before, and gives that after


def em_apl_after(labels, epoch, epochs, soft, loss):
    p = sigmoids(epoch)
    for j in range(LABELS):
        unknown = [i for i, column, s in states(labels) if column == j and s == 0]
        number = math.floor(0.9 * len(unknown) / (epochs - loss.warmup))
        free = sorted((p[i][j], i) for i in unknown if soft[i][j] == -1)
        for q, i in free[:number]:
            soft[i][j] = q
    return soft


def fixed_after(labels, epoch, epochs, pseudo, loss):
    p = sigmoids(epoch)
    for i, j, s in states(labels):
        pseudo[i][j] = pseudo[i][j] or (s == 0 and p[i][j] > 0.8)
    return pseudo


def quantile_after(labels, epoch, epochs, pseudo, loss):
    z = predictions(epoch).tolist()
    pseudo = [[False] * LABELS for _ in range(IMAGES)]
    for j in range(LABELS):
        unknown = [i for i, column, s in states(labels) if column == j and s == 0]
        seen = sum(s == 1 for _, column, s in states(labels) if column == j)
        number = len(unknown) * seen // IMAGES
        for _, i in sorted((-z[i][j], i) for i in unknown)[:number]:
            pseudo[i][j] = True
    return pseudo


def crisp_after(labels, epoch, epochs, prior, loss):
    z = predictions(epoch).tolist()
    for j in range(LABELS):
        positive = [i for i, column, s in states(labels) if column == j and s == 1]
        if not positive:
            continue
        best = (math.inf, None)
        for threshold in sorted({row[j] for row in z}, reverse=True):
            q = sum(row[j] >= threshold for row in z) / IMAGES
            q_p = sum(z[i][j] >= threshold for i in positive) / len(positive)
            if q_p == 0:
                continue
            width = math.sqrt(math.log(4 / 0.01) / (2 * IMAGES))
            width += math.sqrt(math.log(4 / 0.01) / (2 * len(positive)))
            bound = q / q_p + 1.01 / q_p * width
            if bound < best[0]:
                best = bound, q / q_p
        prior[j] = best[1]
    return prior


def csl_after(labels, epoch, epochs, prior, loss):
    if epoch == loss.warmup:
        p = sigmoids(epoch)
        prior = [sum(row[j] for row in p) / IMAGES for j in range(LABELS)]
    return prior


AFTER = {
    "em-apl": ("soft", em_apl_after),
    "csl": ("prior", csl_after),
    "crisp": ("prior", crisp_after),
    "pseudo-threshold": ("pseudo", fixed_after),
    QUANTILE: ("pseudo", quantile_after),
}


@pytest.mark.parametrize("attack", ["targeted", "random", "random:rate=0.8", "single-positive"])
@pytest.mark.parametrize(("name", "spec"), TRACED, ids=[spec for _, spec in TRACED])
def test_three_epochs_follow_the_formulas(name, spec, attack):
    labels = attacked(attack)
    loss = started(spec, labels)
    buffer, after = AFTER.get(spec, AFTER.get(name, (None, None)))
    mine = copy.deepcopy(getattr(loss, buffer).tolist()) if buffer else None
    for epoch in (1, 2, 3):
        for rows in BATCHES:
            z = logits(len(rows), seed=epoch)
            assert_agrees(FORMULAS[name], loss, z, step_of(labels, rows, epoch))
        everything = step_of(labels, range(IMAGES), epoch)
        with torch.no_grad():
            loss.end_epoch(predictions(epoch), everything)
        if buffer:
            mine = after(labels, epoch, 4, mine, loss)
            found = getattr(loss, buffer).tolist()
            torch.testing.assert_close(torch.tensor(found), torch.tensor(mine), rtol=1e-6, atol=0)


@pytest.mark.parametrize("attack", ["targeted", "random"])
def test_targets_of_sat_by_hand(attack):
    labels = attacked(attack)
    for scope in ("all", "hidden"):
        loss = bound(f"sat:start=1,momentum=0.75,scope={scope}", labels)
        target = [[float(s == 1)] * 3 for s in encode(labels, "signed")[4].tolist()]
        for epoch in (1, 2, 3):
            z = logits(1, seed=epoch)
            loss(z, step_of(labels, [4], epoch))
            for j, s in enumerate(encode(labels, "signed")[4].tolist()):
                if epoch > 1 and (scope == "all" or s == 0):
                    target[j] = [0.75 * target[j][0] + 0.25 * sigmoid(z[0, j].item())]
            assert loss.targets[4].tolist() == pytest.approx([t[0] for t in target], abs=1e-6)
        assert torch.equal(loss.targets[5], torch.tensor(labels.positives[5]).float())


def test_running_means_of_elr_by_hand():
    labels = attacked("targeted")
    loss = bound("elr:beta=0.6", labels)
    t, s = [0.0] * LABELS, [0.0] * LABELS
    for epoch in (1, 2, 3):
        z = 4 * logits(1, seed=epoch).detach()
        loss(z, step_of(labels, [4], epoch))
        for j in range(LABELS):
            p = min(max(sigmoid(z[0, j].item()), 1e-4), 1 - 1e-4)
            t[j], s[j] = 0.6 * t[j] + 0.4 * p, 0.6 * s[j] + 0.4 * (1 - p)
        assert loss.mean[4].tolist() == pytest.approx(t, abs=1e-6)
        assert (loss.mass[4] - loss.mean[4]).tolist() == pytest.approx(s, abs=1e-6)
        assert loss.mass[5] == 0


@pytest.mark.parametrize("spec", [*SPECS.values(), QUANTILE])
def test_it_resumes_in_the_middle_of_an_epoch(spec):
    labels = attacked("random")

    def go_on(loss, steps):
        values = []
        for epoch, rows in steps:
            if rows is None:
                with torch.no_grad():
                    loss.end_epoch(predictions(epoch), step_of(labels, range(IMAGES), epoch))
            else:
                z = logits(len(rows), seed=epoch, dtype=torch.float32)
                values.append(loss(z, step_of(labels, rows, epoch)).item())
        return values

    first, second = BATCHES
    steps = [(e, rows) for e in (1, 2, 3) for rows in (first, second, None)]
    for cut in (4, 5, 7):
        loss, fresh = started(spec, labels), started(spec, labels)
        go_on(loss, steps[:cut])
        fresh.load_state_dict(copy.deepcopy(loss.state_dict()))
        assert go_on(fresh, steps[cut:]) == go_on(loss, steps[cut:])
        for name, state in loss.state_dict().items():
            assert torch.equal(state, fresh.state_dict()[name]), name


@pytest.mark.parametrize("spec", [*SPECS.values(), QUANTILE])
def test_large_logits_are_finite_in_every_phase(spec):
    labels = attacked("random")
    for scale in (15.0, 80.0):
        loss = started(spec, labels)
        for epoch in (1, 2, 3):
            z = (torch.sign(logits(seed=epoch, dtype=torch.float32)) * scale).detach()
            z.requires_grad_()
            value = loss(z, step_of(labels, range(IMAGES), epoch))
            value.backward()
            assert torch.isfinite(value) and torch.isfinite(z.grad).all()
            loss.end_epoch(z.detach(), step_of(labels, range(IMAGES), epoch))


@pytest.mark.parametrize("spec", [*SPECS.values(), QUANTILE])
def test_runs_of_several_attacks_share_a_call(spec, monkeypatch):
    """Also recorded, and in the phases that begin after an epoch's end."""
    monkeypatch.setattr(vmapped_loss, "_OF_A_RUN", 1)
    monkeypatch.setattr(vmapped_loss, "_OF_AN_EPOCH", 1)
    some = [attacked(attack) for attack in ("targeted", "random", "single-positive")]
    losses = [started(spec, labels) for labels in some]
    for labels, loss in zip(some, losses, strict=True):
        with torch.no_grad():
            loss.end_epoch(predictions(1), step_of(labels, range(IMAGES), 1))
    signs = torch.from_numpy(np.stack([encode(labels, "signed") for labels in some]))
    group = vectorize(losses, range(3), signs, calls=1000)
    assert isinstance(group, VmappedLoss) and not group.fallbacks
    single = copy.deepcopy(losses)
    for epoch in (2, 2, 3, 3):
        z = torch.stack([logits(seed=n, dtype=torch.float32).detach() for n in range(3)])
        index = torch.arange(IMAGES).repeat(3, 1)
        steps = [step_of(labels, range(IMAGES), epoch) for labels in some]
        together = replace(
            steps[0],
            positives=torch.stack([step.positives for step in steps]),
            negatives=torch.stack([step.negatives for step in steps]),
            index=index,
        )
        values, _ = group(z, together, {})
        wanted = [loss(z[n], steps[n]).item() for n, loss in enumerate(single)]
        assert values.tolist() == pytest.approx(wanted, rel=1e-5)
    assert not group.fallbacks


# --- ties and bounds


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


def bound_alone(spec, labels, **side):
    loss = defenses.create(spec)
    loss.bind(Task(labels=labels, side=SideTables(**side), expected_positives=1.0))
    return loss


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
