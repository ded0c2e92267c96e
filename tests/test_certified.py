"""Partition aggregation and the certificate: no change of labels takes more than is certified."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labelattack.benchmark.store.store import RecordStore
from labelattack.datasets import registry as datasets
from labelattack.defenses import registry as defenses
from labelattack.defenses.base import PartialLabelLoss, Task
from labelattack.errors import LabelError, ParameterError
from labelattack.labels import PartialLabels
from labelattack.metrics.average_precision import average_precision, mean_average_precision
from labelattack.metrics.certificate import (
    certified_map,
    certified_precision,
    pessimistic_precision,
)
from labelattack.models import registry as models
from labelattack.models.median_ensemble import LIMIT, MedianEnsemble, MemberScores, relative
from labelattack.training import protocols
from labelattack.training.compute import ONE_CPU
from labelattack.training.inputs import FeatureInputs
from labelattack.training.loop import Fit, predict
from labelattack.training.protocols.base import Prepared
from labelattack.training.protocols.partition_aggregation import assembled, part_run, parts_of
from labelattack.training.recipe import Recipe
from labelattack.training.training_run import TrainingRun
from labelattack.training.validation import ValidationLabels
from tests.conftest import SMALL_DIGITS

CPU = torch.device("cpu")
CLASSES, PARTS = 3, 7


# The certificate, against members that give what they like.


def by_hand(scores, labels, scored, changed, chosen, values):
    """mAP after some members' scores are replaced."""
    after = scores.copy()
    after[:, chosen[:changed]] = values[:, :changed]
    return mean_average_precision(np.sort(after, axis=1)[:, (scores.shape[1] - 1) // 2],
                                  labels, scored=scored)  # fmt: skip


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(2, 12))
def test_no_members_bring_the_median_below_the_certificate(seed, members, images):
    rng = np.random.default_rng(seed)
    # Few values, so that many are equal.
    scores = rng.integers(-2, 3, (images, members, 2)).astype(np.float32)
    labels, scored = rng.random((images, 2)) < 0.5, rng.random((images, 2)) < 0.9
    bound = certified_map(scores, labels, scored=scored)
    assert len(bound) == (members - 1) // 2 + 2
    assert np.isnan(bound).all() or (np.diff(bound) <= 1e-12).all()
    worst = np.where(labels, -9, 9).astype(np.float32)[:, None].repeat(members, 1)
    for changed in range(len(bound)):
        if changed > members:
            continue
        chosen = rng.permutation(members)
        for values in (worst, rng.integers(-3, 4, scores.shape).astype(np.float32)):
            found = by_hand(scores, labels, scored, changed, chosen, values)
            assert np.isnan(found) or found >= bound[changed] - 1e-12


@pytest.mark.parametrize("members", [1, 2, 5, 6])
def test_a_median_moves_by_as_many_places_as_members_change(members):
    """One positive and one negative, whose scores lie between each other: who is in front?"""
    scores = np.array([np.arange(members) + 0.5, np.arange(members)])
    label, middle = np.array([True, False]), (members - 1) // 2
    assert torch.arange(members).median() == middle
    # Unchanged the positive is in front by half a place; any change turns that.
    assert certified_precision(scores, label).tolist() == [1.0] + [0.5] * (middle + 1)
    ahead = certified_precision(scores + np.array([[4], [0]]), label)  # places 2 * changed < 4.5
    assert ahead.tolist() == [
        1.0 if 2 * r < 4.5 and r <= middle else 0.5 for r in range(middle + 2)
    ]


@given(st.integers(0, 2**32 - 1), st.integers(2, 30))
def test_pessimistic_precision_is_that_of_the_worst_order_of_ties(seed, images):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (images, 1)).astype(np.float32)
    labels = rng.random((images, 1)) < 0.4
    order = sorted(range(images), key=lambda row: (-scores[row, 0], labels[row, 0]))
    hits, precisions = 0, []
    for place, row in enumerate(order, 1):
        if labels[row, 0]:
            hits += 1
            precisions.append(hits / place)
    if 0 < labels.sum() < images:
        found = pessimistic_precision(scores[labels], scores[~labels])
        assert found == pytest.approx(np.mean(precisions))
        assert average_precision(scores, labels)[0] >= found - 1e-12


def test_ties_that_count_together_would_certify_too_much():
    """Two tied positives below a negative; parted by one member, the upper one has less."""
    scores = np.array([[[1], [1], [1]], [[1], [1], [1]], [[2], [2], [2]]], dtype=np.float32)
    labels = np.array([[True], [True], [False]])
    after = scores.copy()
    after[0] += 0.5
    told = mean_average_precision(np.median(scores, axis=1), labels)
    left = mean_average_precision(np.median(after, axis=1), labels)
    assert left < told and certified_map(scores, labels)[0] <= left


@pytest.mark.parametrize("name", ["labels", "scored"])
def test_labels_of_another_shape_are_refused(name):
    given = {each: np.zeros((2, 4), dtype=bool) for each in ("labels", "scored")}
    given[name] = np.zeros((2, 3), dtype=bool)
    with pytest.raises(LabelError, match=rf"{name} must have shape \(2, 4\) .* got \(2, 3\)"):
        certified_map(np.zeros((2, 3, 4)), **given)


# The division into parts.


def test_parts_are_equal_in_size_and_of_the_names_alone():
    labels = PartialLabels.full(np.random.default_rng(0).random((23, 2)) < 0.5)
    names = [f"bild {number}" for number in range(23)]
    parts = parts_of(labels.named(names), 5, 0)
    assert sorted(map(len, parts)) == [4, 4, 5, 5, 5]
    assert sorted(np.concatenate(parts)) == list(range(23))
    other = PartialLabels.full(~labels.values).named(names)
    assert all(map(np.array_equal, parts, parts_of(other, 5, 0)))
    assert not all(map(np.array_equal, parts, parts_of(other, 5, 1)))
    order = np.random.default_rng(1).permutation(23)  # another order of the same images
    again = parts_of(labels.take(order).named([names[row] for row in order]), 5, 0)
    assert [{names[r] for r in part} for part in parts] == [
        {names[order[r]] for r in part} for part in again
    ]


# The ensemble.


def test_an_ensemble_is_the_lower_median_of_standard_scores():
    torch.manual_seed(0)
    members = [torch.nn.Linear(4, 3) for _ in range(5)]
    ensemble = MedianEnsemble(members, 3)
    seen, inputs = torch.randn(30, 4), torch.randn(9, 4)
    standard = []
    for number, member in enumerate(members):
        logits = member(seen).detach()
        ensemble.standardise(number, logits)
        own = logits / logits.square().mean(1, keepdim=True).sqrt()
        new = member(inputs).detach()
        new = new / new.square().mean(1, keepdim=True).sqrt()
        standard.append((new - own.mean(0)) / own.std(0, correction=0))
    torch.testing.assert_close(ensemble.scores(inputs), torch.stack(standard, 1))
    median = torch.stack(standard, 1).median(1).values
    logits = torch.stack([member(seen).detach() for member in members])
    back = logits.mean(1).median(0).values, logits.std(1, correction=0).median(0).values
    torch.testing.assert_close(ensemble(inputs), back[0] + back[1] * median)
    assert (ensemble(inputs).argsort(0) == median.argsort(0)).all()


def test_members_that_abstain_or_overflow_are_spread_to_both_ends():
    ensemble = MedianEnsemble([torch.nn.Linear(2, 1) for _ in range(4)], 1)
    ensemble.abstains[:2] = True
    with torch.no_grad():
        ensemble.members[3].weight.fill_(float("nan"))
    scores = ensemble.scores(torch.ones(1, 2))[0, :, 0]
    assert scores[[0, 1, 3]].tolist() == [-LIMIT, LIMIT, LIMIT]
    assert ensemble(torch.ones(1, 2)).isfinite().all()


def test_logits_of_a_single_label_and_of_zeros_stay():
    one = torch.tensor([[3.0], [-1.0]])
    assert torch.equal(relative(one), one) and torch.equal(relative(one * 0), one * 0)
    zeros = torch.zeros(2, 3)
    assert torch.equal(relative(zeros), zeros)
    ensemble = MedianEnsemble([torch.nn.Linear(2, 3)], 3)
    ensemble.standardise(0, torch.zeros(5, 3))  # constant: nothing to divide by
    assert (ensemble.deviation == 1).all() and (ensemble.logit_deviation == 1).all()


# Labels of one image reach one network.


class Problem:
    """A small data set of rounded features, so that scores tie, and what trains on it."""

    def __init__(self, defense, images=24, seed=0):
        rng = np.random.default_rng(seed)
        self.model, self.defense = models.create("tiny"), defense
        direction = rng.normal(size=(CLASSES, self.model.channels))

        def part(count):
            features = rng.integers(-1, 2, (count, self.model.channels)).astype(np.float32)
            truth = features @ direction.T + rng.normal(size=(count, CLASSES)) > 1
            return FeatureInputs(features, CPU), truth

        (train, self.truth), (val, self.val), (test, self.test) = part(images), part(15), part(40)
        self.prepared = Prepared(train, val, test)
        self.scored = rng.random(self.test.shape) < 0.9
        self.known = rng.random(self.truth.shape) < 0.8
        self.protocol = protocols.create("linear", parts=PARTS)
        self.ids = [str(number) for number in range(images)]

    def labels(self):
        """Observed labels as 1, -1 and 0 for unknown."""
        return np.where(self.known, np.where(self.truth, 1, -1), 0)

    def run(self, signs):
        labels = PartialLabels(signs > 0, signs != 0).named(self.ids)
        known = PartialLabels.full(self.truth).named(self.ids)
        oracle = defenses.get(self.defense.partition(":")[0]).oracle

        def loss_on(rows):
            loss = defenses.create(self.defense)
            told = known if oracle else None
            loss.bind(Task(labels=labels, known=told, expected_positives=1.2).take(rows))
            return loss

        return TrainingRun(
            network=self.protocol.build(self.model, CLASSES, seed=1),
            loss=loss_on(np.arange(len(signs))), loss_on=loss_on, kind=self.defense,
            labels=labels, validation=ValidationLabels(self.val, None, "given"),
            recipe=Recipe(epochs=3, lr=0.1, batch_size=2), seed=5,
        )  # fmt: skip

    def fit(self, signs):
        run = self.run(signs)
        (fit,) = self.protocol.train([run], self.prepared, CPU)
        assert isinstance(fit, Fit), fit
        run.network.load_state_dict(fit.state)
        return run.network, fit

    def measured(self, network):
        """Its test mAP, and its certificate."""
        members = predict(MemberScores(network), self.prepared.test)
        members = members.reshape(len(members), PARTS, CLASSES)
        scores = predict(network, self.prepared.test)
        found = mean_average_precision(scores, self.test, scored=self.scored)
        return found, certified_map(members, self.test, scored=self.scored)


# The three left out cannot be divided, or need scores of another model.
LOSSES = [name for name in defenses.names() if name not in ("boostlu", "gpr", "vlpl")]


@pytest.mark.parametrize("defense", LOSSES)
def test_labels_of_an_image_reach_the_network_of_its_part_alone(defense):
    problem = Problem(defense)
    signs, changed = problem.labels(), problem.labels()
    changed[4] = -changed[4]
    changed[4, 0] = 1 - signs[4, 0]
    parts = parts_of(problem.run(signs).labels, PARTS, 5)
    (touched,) = (number for number, rows in enumerate(parts) if 4 in rows)
    (_, before), (_, after) = problem.fit(signs), problem.fit(changed)
    moved = False
    for name, value in before.state.items():
        if name.startswith("members."):
            same = torch.equal(value, after.state[name])
            assert same or name.split(".")[1] == str(touched), name
            moved |= not same
        else:
            others = torch.arange(PARTS) != touched
            assert torch.equal(value[others], after.state[name][others]), name
    assert moved or defenses.get(defense).oracle


# Attempts to break the certificate: labels of r images are changed and the ensemble trained anew.


class Attempts:
    """Ensembles after changes of labels, each trained for real; parts of many at once."""

    def __init__(self, problem):
        self.problem, self.signs = problem, problem.labels()
        self.run = problem.run(self.signs)
        self.parts = parts_of(self.run.labels, PARTS, self.run.seed)
        self.of_image = {row: number for number, rows in enumerate(self.parts) for row in rows}
        network, _ = problem.fit(self.signs)
        self.clean, self.bound = problem.measured(network)
        members = [{k: v.clone() for k, v in m.state_dict().items()} for m in network.members]
        self.fits = [Fit(fit.epochs, 1, state) for state, fit in zip(
            members, self._trained([(self.run, number) for number in range(PARTS)]), strict=True
        )]  # fmt: skip
        self.found = []  # images changed, mAP, change

    def _trained(self, wanted):
        """Fits of parts of runs, parts of one size in one group."""
        runs = [
            part_run(run, run.network.members[number], self.parts[number], number)
            for run, number in wanted
        ]
        found = [None] * len(runs)
        for size in {len(run.rows) for run in runs}:
            of_size = [place for place, run in enumerate(runs) if len(run.rows) == size]
            for start in range(0, len(of_size), 128):
                places = of_size[start : start + 128]
                fits = self.problem.protocol.inner.train(
                    [runs[place] for place in places], self.problem.prepared, CPU
                )
                for place, fit in zip(places, fits, strict=True):
                    found[place] = fit
        return found

    def make(self, changes):
        """Trains anew after each change, ``{image: its labels}``, and notes the mAP."""
        runs, wanted = [], []
        for change in changes:
            signs = self.signs.copy()
            for image, labels in change.items():
                signs[image] = labels
            runs.append(self.problem.run(signs))
            wanted += [(runs[-1], part) for part in {self.of_image[image] for image in change}]
        fits = iter(zip(wanted, self._trained(wanted), strict=True))
        for run, change in zip(runs, changes, strict=True):
            own = list(self.fits)
            for _ in {self.of_image[image] for image in change}:
                (_, part), fit = next(fits)
                own[part] = fit
            whole = assembled(run, self.parts, own, self.problem.prepared, CPU)
            run.network.load_state_dict(whole.state)
            scores = predict(run.network, self.problem.prepared.test)
            found = mean_average_precision(scores, self.problem.test, scored=self.problem.scored)
            self.found.append((len(change), found, change))

    def broken(self, bound):
        """Attempts whose mAP is below a bound, given the number of changed images."""
        return [(r, found) for r, found, _ in self.found if found < bound(r) - 1e-9]


def every_single_change(signs):
    return [
        {image: labels}
        for image in range(len(signs))
        for labels in product((-1, 0, 1), repeat=CLASSES)
        if tuple(signs[image]) != labels
    ]


def random_changes(signs, images, count, seed):
    rng = np.random.default_rng(seed)
    return [
        {
            int(image): tuple(rng.integers(-1, 2, CLASSES))
            for image in rng.choice(len(signs), images, replace=False)
        }
        for _ in range(count)
    ]


@pytest.mark.parametrize(("defense", "seed"), [("an", 0), ("pseudo-history", 1)])
def test_no_change_of_labels_takes_more_than_is_certified(defense, seed):
    """Every change of one image, and random and greedy changes of two and three, trained anew."""
    attempts = Attempts(Problem(defense, seed=seed))
    attempts.make(every_single_change(attempts.signs))
    for images in (2, 3):
        attempts.make(random_changes(attempts.signs, images, 250, images))
        # Greedy: what hurt most so far, with each of the changes of another part that hurt most.
        ranked = sorted(attempts.found, key=lambda each: each[1])
        best = next(change for count, _, change in ranked if count == images - 1)
        reached = {attempts.of_image[image] for image in best}
        singles = [
            change for count, _, change in ranked
            if count == 1 and not reached & {attempts.of_image[image] for image in change}
        ]  # fmt: skip
        attempts.make([best | single for single in singles[:60]])
    assert len(attempts.found) >= 1_240  # of 2 parametrisations
    bound, low = attempts.bound, min(found for _, found, _ in attempts.found)
    assert not attempts.broken(lambda changed: bound[changed])
    assert low < attempts.clean  # the attempts do something
    # Certificates that promise too much are caught.
    assert attempts.broken(lambda changed: bound[changed - 1]), "one image fewer"
    # Whole trainings by the protocol itself.
    for count, _, change in sorted(attempts.found, key=lambda each: each[1])[:15]:
        signs = attempts.signs.copy()
        for image, labels in change.items():
            signs[image] = labels
        network, _ = attempts.problem.fit(signs)
        assert attempts.problem.measured(network)[0] >= bound[count] - 1e-9


# On the command line.


BENCH = (
    "bench", "--dataset", SMALL_DIGITS, "--model", "tiny", "--attack", "none", "--attack",
    "unlabelled-images:rate=0.2", "--defense", "an", "--seeds", 2, "--epochs", 2, "--jobs", 1,
)  # fmt: skip
CERTIFIED = "--measures", "certified:at=2", "--d-score", "none"


def measured_anew(record, splits):
    """Certificate of a record's weights, by loops over images."""
    network = protocols.create(record.cell.protocol).build(models.create("tiny"), 10, seed=0)
    network.load_state_dict(RecordStore(Path("results")).weights(record.key))
    ready = protocols.create("finetune").prepare(splits, models.resolve("tiny"), ONE_CPU)
    scores = predict(MemberScores(network), ready.test).reshape(len(splits.test), 3, 10)
    found = []
    for changed in range(3):
        precisions = []
        for label in range(10):
            positive, ordered = splits.test.labels[:, label], np.sort(scores[:, :, label], axis=1)
            if changed < 2:
                worst = np.where(positive, ordered[:, 1 - changed], ordered[:, 1 + changed])
            else:
                worst = np.where(positive, -1, 1)
            order = sorted(range(len(worst)), key=lambda row: (-worst[row], positive[row]))
            hits = np.cumsum(positive[order]) / np.arange(1, len(order) + 1)
            precisions.append(hits[positive[order]].mean())
        found.append(np.mean(precisions))
    return found


def test_a_board_shows_what_is_certain(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = run(*BENCH, "--protocol", "finetune:parts=3", *CERTIFIED, cwd=tmp_path).stdout
    assert "finetune:parts=3 · 2 epochs · last epoch" in text
    assert "certified mAP" in text and "last epoch, nothing selected" in text
    records = list(RecordStore(tmp_path / "results"))
    splits = datasets.create(SMALL_DIGITS).load()
    assert {r.cell.selection for r in records} == {"last"} and len(records) == 6
    for record in records:
        outcome = record.outcomes["certified"]
        wanted = measured_anew(record, splits)
        assert outcome.details["curve"] == pytest.approx(wanted)
        assert outcome.details["parts"] == 3 and outcome.values["certified_map"] == wanted[2]
        changed = 0 if record.cell.attack == "none" else 12
        assert outcome.details["images_changed"] == changed
        assert record.test.map >= wanted[0] - 1e-12
        assert [epoch.val_map is None for epoch in record.epochs] == [True, False]
    (board,) = json.loads(run("show", "results", "--format", "json", cwd=tmp_path).stdout)
    row = next(r for r in board["rows"] if r["attack"].startswith("unlabelled"))
    found = row["measures"]["certified"]
    assert found["images_changed"] == 12 and len(found["curve"]) == len(found["intervals"]) == 3
    assert found["metrics"]["certified_map"]["mean"] == pytest.approx(found["curve"][2])
    run("plot", "certified", "results", "--out", "c.png", cwd=tmp_path)
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    run("report", "results", "--out", "r.html", cwd=tmp_path)
    page = (tmp_path / "r.html").read_text()
    assert 'data-part="certified"' in page and '"attack":"unlabelled-images"' in page
    run(
        "check",
        "results",
        "--baseline",
        "b.json",
        "--update",
        "--measure",
        "certified_map",
        cwd=tmp_path,
    )
    run("check", "results", "--baseline", "b.json", "--measure", "certified_map", cwd=tmp_path)
    assert all(r.cell.versions["code"].endswith("finetune-1+parts-1") for r in records)
    # Weights of an ensemble are rebuilt, and say so.
    told = run("score", "results", "--d-score", "none", cwd=tmp_path).stdout
    assert "an under none" in told


def test_heads_of_parts_have_a_d_score_and_networks_of_parts_have_none(run, refused, tmp_path):
    small = *BENCH[:5], "--attack", "none", "--defense", "an", "--seeds", 1, "--epochs", 1
    text = run(*small, "--protocol", "linear:parts=3", "--jobs", 1, cwd=tmp_path).stdout
    assert "D-Score" in text
    said = refused(*small, "--protocol", "finetune:parts=3", cwd=tmp_path)
    assert said.endswith("which trains one for each part; give --d-score none")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--protocol", "linear", *CERTIFIED), "must have a protocol with parts, such as "
         "linear:parts=50, got 'linear'"),
        (("--protocol", "linear:parts=0"), "must be greater than or equal to 1, got '0'"),
        (("--protocol", "linear:parts=61", *CERTIFIED), "parts must be at most 60, the number of "
         "training images, got 61"),
        (("--protocol", "linear:part=3"), "did you mean 'parts'?"),
        (("--protocol", "linear:parts=3", "--lr", 0.1, "--lr", 0.01), "there must be one recipe, got 2"),
        (("--protocol", "linear:parts=3", "--defense", "boostlu"), "parts must be 1 for a loss "
         "that multiplies class activations"),
        (("--protocol", "linear:parts=3", "--measures", "certified:at=0"), "at"),
    ],
)  # fmt: skip
def test_what_cannot_be_certified_is_refused_before_training(refused, tmp_path, options, says):
    assert says in refused(*BENCH, *options, cwd=tmp_path)
    assert not list(tmp_path.glob("results/records/*/*"))


def test_one_part_is_the_protocol_itself():
    assert str(protocols.registry.resolve("linear:parts=1")) == "linear"
    linear = type(protocols.create("linear:parts=1"))
    assert linear is type(protocols.create("linear"))
    with pytest.raises(ParameterError, match="must be 1 where its class is called, got 50"):
        linear(parts=50)  # would train one network


class FailsInAPart(PartialLabelLoss):
    """Fails where class 2 has no positive."""

    def terms(self, logits, step):
        return torch.nn.functional.softplus(logits) - logits * step.positives

    def bind(self, task):
        if not task.labels.positives[:, 2].any():
            raise ParameterError("class 2 must have a positive, got none")


def test_a_part_that_fails_abstains_and_a_run_whose_parts_all_fail_fails():
    problem = Problem("an")
    signs = problem.labels()

    def fitted(signs):
        run = problem.run(signs)

        def loss_on(rows):
            loss = FailsInAPart()
            loss.bind(Task(labels=run.labels[rows]))
            return loss

        return problem.protocol.train([replace(run, loss_on=loss_on)], problem.prepared, CPU)[0]

    rows = parts_of(problem.run(signs).labels, PARTS, 5)[3]
    signs[rows, 2] = -1
    fit = fitted(signs)
    assert fit.state["abstains"][3].all()
    assert any(
        "parts abstain, as training failed: ParameterError" in told for told in fit.fallbacks
    )
    signs[:, 2] = -1
    assert isinstance(fitted(signs), ParameterError)


def test_a_run_that_cannot_be_divided_says_so():
    problem = Problem("an")
    run = replace(problem.run(problem.labels()), loss_on=None)
    (error,) = problem.protocol.train([run], problem.prepared, CPU)
    assert "can be bound to some of the images" in str(error)


def test_a_store_with_several_recipes_says_that_the_choice_is_not_certified(run, tmp_path):
    options = *BENCH[:5], "--attack", "none", "--defense", "an", "--seeds", 1, "--epochs", 1
    for rate in (0.1, 0.01):
        given = "--protocol", "linear:parts=3", *CERTIFIED, "--lr", rate
        run(*options, "--jobs", 1, *given, cwd=tmp_path)
        text = " ".join(run("show", "results", cwd=tmp_path).stdout.split())
        assert ("one of 2 recipes is shown" in text) == (rate == 0.01)
