"""Cross-fitting, the surrogate, and how attacks come by their knowledge."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from labelattack import attacks, defenses
from labelattack.attacks.knowledge import Knowledge
from labelattack.datasets import registry as datasets
from labelattack.datasets.images import ArrayImages
from labelattack.datasets.split import Split
from labelattack.defenses.base import Task
from labelattack.errors import AttackError, ParameterError, UnknownNameError
from labelattack.labels import PartialLabels
from labelattack.metrics.average_precision import mean_average_precision
from labelattack.models import registry as models
from labelattack.training.compute import Compute
from labelattack.training.cross_fit import cross_fit, fold_of, inputs_of, usual_protocol
from labelattack.training.loop import predict
from labelattack.training.recipe import Recipe
from labelattack.training.surrogate import _surrogate, knowledge_of, surrogate_scores
from labelattack.training.validation import validation_labels
from tests.conftest import SMALL_DIGITS

TINY = models.resolve("tiny")
QUICK = Recipe(epochs=2, lr=4e-3, batch_size=16)


def known_only(labels, rows):
    loss = defenses.create("bce")
    loss.bind(Task(labels=labels))
    return loss


@given(st.integers(2, 60), st.integers(2, 6), st.integers(0, 9))
def test_folds_are_equal_and_keep_groups_together(images, folds, seed):
    if images < folds:
        with pytest.raises(ParameterError, match=f"2 to {images}, the number of images"):
            fold_of(images, folds, seed=seed)
        return
    sizes = np.bincount(fold_of(images, folds, seed=seed), minlength=folds)
    assert sizes.sum() == images and np.ptp(sizes) <= 1
    groups = [str(row // 2) for row in range(images)]
    if len(set(groups)) >= folds:
        of_image = fold_of(images, folds, groups, seed)
        assert all(len({of_image[r] for r in (2 * n, 2 * n + 1) if r < images}) == 1
                   for n in range((images + 1) // 2))  # fmt: skip


def test_an_image_is_scored_by_a_network_that_never_saw_its_labels():
    split = datasets.create(SMALL_DIGITS).load().train
    first = cross_fit(split, TINY, known_only, recipe=QUICK, folds=3)
    held = first.folds == 1
    flipped = Split(split.images, PartialLabels.full(split.labels ^ held[:, None]), list(split.ids))
    second = cross_fit(flipped, TINY, known_only, recipe=QUICK, folds=3)
    # The labels of fold 1 are others now: its own scores stay, those of the other folds do not.
    assert np.array_equal(first.scores[held], second.scores[held])
    assert not np.allclose(first.scores[~held], second.scores[~held])
    for fold, network in enumerate(first.networks):
        rows = np.flatnonzero(first.folds == fold)
        inputs = inputs_of(split, TINY, False, Compute())(rows)
        assert np.allclose(predict(network, inputs, alone=True), first.scores[rows], atol=1e-5)


def test_a_model_without_pretrained_backbone_is_trained_whole():
    assert usual_protocol(TINY) == "finetune"
    assert usual_protocol(models.resolve("resnet18:weights=none")) == "finetune"
    assert usual_protocol(models.resolve("efficientnet-lite0")) == "linear"


def test_scores_of_unlearnable_labels_are_those_of_chance():
    """In-sample scores of random labels would be far above."""
    draw = np.random.Generator(np.random.PCG64(5))
    pixels = draw.integers(0, 256, (120, 24, 24), dtype=np.uint8)
    labels = draw.random((120, 3)) < 0.5
    split = Split(ArrayImages(pixels), labels, [str(n) for n in range(120)])
    fit = cross_fit(split, TINY, known_only, recipe=Recipe(epochs=6, lr=4e-3, batch_size=16))
    assert mean_average_precision(fit.scores, labels) < 0.65


def test_knowledge_is_computed_when_it_is_read_and_only_what_is_declared():
    splits = datasets.create(SMALL_DIGITS).load()
    read = []
    known = Knowledge({"scores": lambda: read.append("scores") or np.zeros((60, 10), np.float32)})
    attack = attacks.create("confidence")
    assert not read
    for seed in (0, 1):
        attack(splits.train.partial, seed=seed, knowledge=known)
    assert read == ["scores"]  # once
    given_ = known.for_attack(attacks.create("targeted"), splits.train.partial)
    with pytest.raises(AttackError, match="declared in 'needs'"):
        _ = given_.scores
    with pytest.raises(AttackError, match=r"'confidence' needs a score.*confidence:scores=FILE"):
        attack(splits.train.partial, seed=0)
    boxes = knowledge_of(splits, "train", TINY, Compute())
    assert attacks.create("size-biased")(splits.train.partial, seed=0, knowledge=boxes).known == 60


def test_training_images_are_scored_out_of_fold_and_validation_images_by_the_mean(monkeypatch):
    monkeypatch.setattr("labelattack.training.cross_fit.EPOCHS", 3)
    splits = datasets.create("digits:train=200,val=60,test=40").load()
    train = surrogate_scores(splits.train, splits.train, TINY, Compute())
    val = surrogate_scores(splits.val, splits.train, TINY, Compute())
    assert train.shape == (200, 10) and val.shape == (60, 10)
    for found in (train, val):
        assert found.dtype == np.float32 and ((found >= 0) & (found <= 1)).all()
    networks = _surrogate(splits.train, TINY, Compute()).networks
    inputs = inputs_of(splits.val, TINY, False, Compute())(np.arange(60))
    each = [1 / (1 + np.exp(-predict(network, inputs, alone=True))) for network in networks]
    assert np.allclose(val, np.mean(each, axis=0), atol=1e-5)


def test_validation_labels_of_a_corruption_are_the_corrupted_ones():
    splits = datasets.create(SMALL_DIGITS).load()
    attack = attacks.create("hidden-as-negative:rate=0.5")
    found = validation_labels(attack, splits.val, "attacked", seed=0)
    assert found.labels.sum() == splits.val.labels.sum() - round(0.5 * splits.val.labels.sum())
    assert found.scored is None and found.rule == "observed cells"
    clean = validation_labels(attack, splits.val, "clean", seed=0)
    assert np.array_equal(clean.labels, splits.val.labels)


@pytest.fixture
def photos(tmp_path):
    """A stranger's folder: 40 images of two sizes, names that are not ASCII, two classes."""
    draw = np.random.Generator(np.random.PCG64(2))
    folder = tmp_path / "Fotos für alle"
    folder.mkdir()
    lines = ["id;hell;dunkel"]
    for number in range(40):
        bright = number % 2
        size = (20, 30) if number % 3 else (28, 24)
        pixels = draw.integers(0, 90, (*size, 3), dtype=np.uint8) + np.uint8(160 * bright)
        name = f"bild-ß{number}.png"
        Image.fromarray(pixels).save(folder / name)
        lines.append(f"{name};{bright};{1 - bright if number % 5 else 1}")
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(lines), encoding="utf-8")
    return labels, folder


def test_attack_command_with_a_strangers_images_and_scores(told, photos, tmp_path):
    labels, folder = photos
    out = tmp_path / "part.csv"
    attack = ["attack", str(labels), "--attack", "confidence:rate=0.25", "--out", str(out)]
    code, _, err = told(*attack)
    assert code == 2 and err.count("error:") == 1 and "--images FOLDER" in err
    assert not out.exists()
    code, text, err = told(
        *attack, "--images", str(folder), "--model", "efficientnet-lite0:size=64", "--json"
    )
    assert code == 0, err
    account = json.loads(text)
    assert account["removed_positives"] == round(0.25 * account["positives"])
    scores = tmp_path / "scores.csv"
    names = [line.partition(";")[0] for line in labels.read_text("utf-8").splitlines()[1:]]
    rows = [f"{name},{n / 100},{1 - n / 100}" for n, name in enumerate(names)]
    scores.write_text("\n".join(["image,dunkel,hell", *rows]), encoding="utf-8")
    code, text, err = told(*attack, "--scores", str(scores), "--json")
    assert code == 0, err
    scores.write_text("image,dunkel,hell\n" + rows[0] + "\n", encoding="utf-8")
    code, _, err = told(*attack, "--scores", str(scores))
    assert code == 2 and "must have every image" in err and str(scores) in err
    code, _, err = told(*attack, "--images", str(tmp_path / "nowhere"))
    assert code == 2 and "must be a folder" in err


def test_bench_computes_what_an_attack_needs(told, tmp_path):
    arguments = [
        "bench", "--dataset", SMALL_DIGITS, "--protocol", "linear", "--defense", "an",
        "--seeds", "1", "--epochs", "1", "--lr", "1e-3", "--jobs", "1", "--d-score", "none",
        "--out", str(tmp_path / "s"), "--json",
    ]  # fmt: skip
    code, out, err = told(
        *arguments, "--attack", "confidence", "--attack", "greedy", "--attack", "size-biased",
        "--attack", "flip-confidence",
    )  # fmt: skip
    assert code == 0, err
    found = {row["attack"].partition(":")[0] for board in json.loads(out) for row in board["rows"]}
    assert {"confidence", "greedy", "size-biased", "flip-confidence", "none"} <= found
    assert [board.get("labels", "removed") for board in json.loads(out)] == ["removed", "changed"]
    code, _, err = told(*arguments, "--attack", "group-block")
    assert code == 2 and "group-block:groups=FILE" in err
    code, _, err = told(*arguments, "--attack", "semantic-biased")
    assert code == 2 and "semantic-biased:weights=FILE" in err


@pytest.mark.parametrize(
    ("attack", "values", "error"),
    [
        ("confidence", {"scores": np.zeros((5, 10))}, r"scores .*must have shape \(60, 10\), got"),
        ("confidence", {"scores": np.full((60, 10), np.nan)}, "must be finite numbers"),
        ("group-block", {"groups": ("a",) * 59}, r"must have shape \(60,\), got \(59,\)"),
        ("greedy", {"features": np.zeros((61, 3)), "held_out": None}, "must have 60 rows"),
        ("semantic-biased", {"weights": np.ones(11)}, r"shape \(10,\), got \(11,\)"),
    ],
)
def test_knowledge_of_other_images_is_refused(attack, values, error):
    labels = datasets.create(SMALL_DIGITS).load().train.partial
    with pytest.raises(AttackError, match=error):
        attacks.create(attack)(labels, seed=0, knowledge=Knowledge.of(**values))


def test_a_misspelt_kind_of_knowledge_is_refused():
    with pytest.raises(UnknownNameError, match="did you mean 'scores'"):
        Knowledge.of(score=np.zeros((2, 2)))
