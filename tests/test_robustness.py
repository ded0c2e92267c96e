"""mAP on test images whose pixels are changed."""

import io
import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import average_precision_score
from torch import nn

from labelattack import corruptions
from labelattack.benchmark.boards import leaderboard
from labelattack.benchmark.execution.context import load, setup_of, trained_run
from labelattack.benchmark.execution.run_cell import run_cell
from labelattack.benchmark.execution.scheduler import run_grid, run_selected
from labelattack.benchmark.execution.task import RunOptions
from labelattack.benchmark.plan.grid import Grid
from labelattack.benchmark.report import tables
from labelattack.benchmark.report.plots import draw_pixels
from labelattack.benchmark.selection import selected_runs
from labelattack.benchmark.store.store import RecordStore
from labelattack.benchmark.store.trackers.base import results_of
from labelattack.corruptions import STANDARD as CORRUPTIONS
from labelattack.corruptions.tables import SEVERITIES, TABLES
from labelattack.datasets.images import ArrayImages
from labelattack.errors import LabelAttackError, ParameterError, StoreError, UnknownNameError
from labelattack.measures._corruption import CorruptedImages, corrupted, corrupted_split
from labelattack.measures._evasion import evaded
from labelattack.measures.corruption import CorruptionSettings
from labelattack.measures.evasion import EvasionSettings
from labelattack.measures.request import NOTHING, MeasureRequest, read_request
from labelattack.models import registry as models
from labelattack.models.base import IMAGENET_MEAN, IMAGENET_STD, Network, Preprocessing
from labelattack.training.compute import Compute
from tests.conftest import SMALL_DIGITS

NOISY, BLUR, CONTRAST, JPEG, TRANSLATION, RESCALING = CORRUPTIONS
STRENGTHS = {t: {n: corruptions.registry.get(n).strengths[t] for n in CORRUPTIONS} for t in TABLES}
EVASION = EvasionSettings(eps=0.05, steps=2, images=20)
CORRUPTION = CorruptionSettings(images=15)
QUICK = MeasureRequest.of(EVASION, CORRUPTION)


def corrupt(image, name, strength, rng):
    return corruptions.create(name)(image, strength, rng)


def subset(images):
    return setup_of(SMALL_DIGITS, "tiny", "linear", Compute()).subset(images, 0)


def evasion_changed(record, update):
    evasion = record.outcomes["evasion"].model_copy(update=update)
    return record.model_copy(update={"outcomes": record.outcomes | {"evasion": evasion}})


@pytest.fixture(scope="module")
def photo():
    """A smooth image with edges, uint8 [40, 56, 3]."""
    rows, columns = np.mgrid[:40, :56]
    image = np.stack([3 * rows + columns, 200 - 2 * rows, 128 + 60 * np.sin(columns / 4)], 2)
    image[10:20, 30:45] = (250, 30, 90)
    return image.astype(np.uint8)


def rng(seed=0):
    return np.random.default_rng(seed)


# Corruptions


@pytest.mark.parametrize("table", STRENGTHS)
@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_corruptions_grow_with_severity_and_change_nothing_else(table, corruption, photo):
    before = photo.copy()
    strengths = STRENGTHS[table][corruption]
    assert len(strengths) == len(SEVERITIES)
    found = [corrupt(photo, corruption, strength, rng()) for strength in strengths]
    again = [corrupt(photo, corruption, strength, rng()) for strength in strengths]
    assert np.array_equal(photo, before)
    for image, same in zip(found, again, strict=True):
        assert image.dtype == np.uint8 and image.shape == photo.shape
        assert np.array_equal(image, same)
    away = [np.square(image.astype(float) - photo).mean() for image in found]
    assert min(away) > 0
    if corruption != RESCALING:  # how a grid falls on edges matters as much as how fine it is
        assert all(before < after * 1.001 for before, after in pairwise(away)), away


def test_noise_has_the_strength_it_says():
    grey = np.full((100, 100, 3), 128, dtype=np.uint8)
    added = corrupt(grey, NOISY, 0.1, rng()).astype(float) - 128
    assert abs(added.mean()) < 0.5 and added.std() == pytest.approx(25.5, rel=0.02)
    kurtosis = (added**4).mean() / (added**2).mean() ** 2
    assert kurtosis == pytest.approx(3, abs=0.1)


def test_blur_is_a_gaussian_on_each_channel(photo):
    sigma = 2
    offsets = np.arange(-8, 9)
    kernel = np.exp(-(offsets**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    image = np.pad(photo.astype(float), ((8, 8), (8, 8), (0, 0)), mode="edge")
    across = sum(k * image[:, 8 + o : 8 + o + 56] for k, o in zip(kernel, offsets, strict=True))
    down = sum(k * across[8 + o : 8 + o + 40] for k, o in zip(kernel, offsets, strict=True))
    found = corrupt(photo, BLUR, sigma, rng()).astype(float)
    assert np.abs(found - down).max() <= 0.51


def test_contrast_draws_towards_the_mean(photo):
    means = photo.reshape(-1, 3).mean(0)
    expected = np.clip((photo - means) * 0.3 + means, 0, 255)
    assert np.abs(corrupt(photo, CONTRAST, 0.3, rng()) - expected).max() <= 0.5


def test_jpeg_is_that_of_the_quality(photo):
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=10)
    assert np.array_equal(corrupt(photo, JPEG, 10, rng()), np.asarray(Image.open(file)))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 100),
    share=st.floats(0, 0.5),
    height=st.integers(2, 30),
    width=st.integers(2, 30),
)
def test_translation_moves_and_repeats_the_border(seed, share, height, width):
    image = rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    found = corrupt(image, TRANSLATION, share, rng(seed))
    down, right = round(share * height), round(share * width)
    matches = 0
    for dy in {down, -down}:
        for dx in {right, -right}:
            ys = np.clip(np.arange(height) - dy, 0, height - 1)
            xs = np.clip(np.arange(width) - dx, 0, width - 1)
            matches += np.array_equal(found, image[np.ix_(ys, xs)])
    assert matches >= 1


def test_translation_goes_every_way():
    image = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    assert len({corrupt(image, TRANSLATION, 0.2, rng(s)).tobytes() for s in range(40)}) == 4


def test_rescaling_by_half_is_the_mean_of_four(photo):
    small = photo.reshape(20, 2, 28, 2, 3).mean(axis=(1, 3))
    expected = small.repeat(2, 0).repeat(2, 1)
    assert np.abs(corrupt(photo, RESCALING, 0.5, rng()) - expected).max() <= 1.01


def test_corrupted_images_are_all_of_them_in_turn(photo):
    images = ArrayImages(np.stack([photo, photo[::-1], photo[:, ::-1]]))
    found = CorruptedImages(images, 32, CorruptionSettings())
    assert len(found) == 3 * (1 + len(CORRUPTIONS) * len(SEVERITIES))
    squashed = [
        np.asarray(Image.fromarray(i).resize((32, 32), Image.Resampling.BILINEAR)) for i in images
    ]
    assert all(np.array_equal(found[n], squashed[n]) for n in range(3))
    assert found[len(found) - 1].shape == (32, 32, 3)
    turn = 1 + CORRUPTIONS.index(CONTRAST) * len(SEVERITIES) + 2
    strength = STRENGTHS["cifar-10-c"][CONTRAST][2]  # 32 pixels are more like CIFAR's
    assert np.array_equal(found[3 * turn + 1], corrupt(squashed[1], CONTRAST, strength, rng()))
    one, other = found[3 + 0], found[3 + 1]
    assert not np.array_equal(one.astype(int) - squashed[0], other.astype(int) - squashed[1])
    prints = {
        CorruptedImages(images, 32, CorruptionSettings()).fingerprint(),
        CorruptedImages(images, 40, CorruptionSettings()).fingerprint(),
        CorruptedImages(images, 32, CorruptionSettings(seed=1)).fingerprint(),
        CorruptedImages(images, 32, CorruptionSettings(table="imagenet-c")).fingerprint(),
    }
    assert len(prints) == 4
    assert CorruptionSettings().table_for(64) == "imagenet-c" != CorruptionSettings().table_for(63)


def test_scores_are_summed_up_by_severity():
    test = subset(15)
    split = corrupted_split(test, None, CorruptionSettings())
    assert len(split.ids) == len(split.images) == len(set(split.ids)) == 15 * 31
    scores = rng(1).normal(size=split.labels.shape)
    found = corrupted(scores, test, 24, CorruptionSettings())
    told = test.labels.any(0)

    def mean(part):
        return average_precision_score(test.labels[:, told], part[:, told], average="macro")

    by_turn = scores.reshape(31, 15, -1)
    assert found.clean == pytest.approx(mean(by_turn[0]))
    assert found.map == pytest.approx(np.mean([mean(part) for part in by_turn[1:]]))
    assert found.by_severity[JPEG][4] == pytest.approx(mean(by_turn[1 + 3 * 5 + 4]))
    assert (found.table, found.images) == ("cifar-10-c", 15)
    assert found.chance == pytest.approx(test.labels.mean(0)[told].mean())
    assert found.kept == pytest.approx((found.map - found.chance) / (found.clean - found.chance))


def test_nothing_is_left_of_nothing():
    test = subset(15)
    found = corrupted(np.zeros((15 * 31, 10)), test, 24, CorruptionSettings())
    assert found.clean == found.chance == pytest.approx(found.map) and found.kept is None


# Evasion


@pytest.mark.parametrize("objective", ["margin", "cross-entropy"])
def test_evasion_is_pgd_by_hand(objective):
    """Against the steps written out in torch, through the normalisation."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 6, 5, stride=3), nn.Softplus(), nn.Flatten(), nn.LazyLinear(10)
        )
        model(torch.zeros(1, 3, 24, 24))
    preprocessing = Preprocessing(None, IMAGENET_MEAN, IMAGENET_STD, flip=False)
    chosen = EvasionSettings(eps=0.03, steps=3, objective=objective)
    test = load(SMALL_DIGITS).test
    images = torch.stack([torch.from_numpy(i).permute(2, 0, 1) / 255 for i in test.images])
    labels = torch.tensor(test.labels).float()
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    moved = images.clone()
    for _ in range(3):
        moved.requires_grad_()
        logits = model((moved - mean) / std)
        if objective == "margin":
            sum(
                z[~y].mean() - z[y].mean() for z, y in zip(logits, labels.bool(), strict=True)
            ).backward()
        else:
            nn.functional.binary_cross_entropy_with_logits(logits, labels).backward()
        step = moved.detach() + 2.5 * 0.03 / 3 * moved.grad.sign()
        moved = (images + (step.clamp(0, 1) - images).clamp(-0.03, 0.03)).detach()
    before, after = (
        average_precision_score(test.labels, model((x - mean) / std).detach())
        for x in (images, moved)
    )
    found = evaded(model, test, preprocessing, chosen)
    assert found.clean == pytest.approx(before, abs=1e-6)
    assert found.map == pytest.approx(after, abs=5e-3)  # signs of nearly nothing may differ
    assert found.map < found.clean and found.images == len(test.labels) and found.art >= "1.18"


def test_the_strongest_objective_counts():
    model = models.create("tiny")
    test = subset(20)

    def found(objective):
        chosen = EvasionSettings(eps=0.03, steps=2, objective=objective)
        return evaded(model.build(10, seed=0), test, model.preprocessing, chosen)

    both, margin, entropy = map(found, ("strongest", "margin", "cross-entropy"))
    assert both.by_objective == {"margin": margin.map, "cross-entropy": entropy.map}
    assert both.map == min(margin.map, entropy.map) and both.clean == margin.clean
    assert margin.map != entropy.map


# What is asked for


def test_robustness_is_read_from_one_text_or_several():
    both = read_request(["evasion:eps=2/255,steps=5,corruption:images=9"])
    assert both == read_request(["corruption:images=9", "evasion:steps=5,eps=0.00784313725490196"])
    assert both.measures["evasion"].eps == 2 / 255 and both.measures["corruption"].images == 9
    assert read_request(["evasion,corruption"]).measures["evasion"] == EvasionSettings()
    assert read_request([]) == NOTHING
    assert EvasionSettings(eps="0.5/255").describe() == (
        "PGD on margin or cross-entropy, linf, eps 0.5/255, 10 steps"
    )
    assert (
        EvasionSettings(eps=1.5, norm="l2", steps=4, objective="margin").describe()
        == "PGD on margin, l2, eps 1.5, 4 steps"
    )
    assert EvasionSettings(eps=0.1, steps=5).step_size == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("evasin", UnknownNameError, "did you mean 'evasion'"),
        ("evasion:epsilon=1", ParameterError, "did you mean 'eps'"),
        ("evasion:eps=a/b", ParameterError, "must be a valid number"),
        ("evasion:eps=1/0", ParameterError, "must be a valid number"),
        ("evasion:eps=0", ParameterError, "greater than 0"),
        ("evasion:eps=nan", ParameterError, "greater than 0"),
        ("evasion:eps=2", ParameterError, "at most 1 in linf, got 2; 2 levels of 255 are 2/255"),
        ("evasion:steps=0", ParameterError, "greater than or equal to 1"),
        ("evasion:norm=1", ParameterError, "'linf' or 'l2'"),
        ("corruption:table=cifar", ParameterError, "cifar-10-c"),
        ("evasion,evasion:eps=1", ParameterError, "got it twice"),
        ("", ParameterError, "spec must look like"),
        ("evasion,", UnknownNameError, "did you mean 'evasion'"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_said(text, error, says):
    with pytest.raises(error, match=says):
        read_request([text])


def test_the_command_line_refuses_in_one_line(refused, tmp_path):
    assert "did you mean 'corruption'" in refused(
        "bench", "--robustness", "corruptions", cwd=tmp_path
    )
    assert "must hold runs of bench --robustness" in refused(
        "plot", "pixels", _store(tmp_path / "s").folder, cwd=tmp_path
    )


def _store(folder):
    return RecordStore(folder)


# Boards


def grid(**changes):
    values = {
        "dataset": SMALL_DIGITS, "model": "tiny", "protocol": "linear", "attacks": ("targeted",),
        "defenses": ("an",), "seeds": (0, 1), "epochs": 2, "lrs": (1e-2,),
    }  # fmt: skip
    return Grid(**{**values, **changes})


def cells(**changes):
    return grid(**changes).cells(load(SMALL_DIGITS).fingerprint)


@pytest.mark.parametrize("protocol", ["linear", "finetune"])
def test_pixels_are_changed_later_for_stored_weights(
    tmp_path, protocol, count_training, monkeypatch
):
    store = _store(tmp_path / "store")
    wanted = cells(protocol=protocol, seeds=(0,), epochs=1)
    run_grid(wanted, store)
    before = {cell.key: store.get(cell.key) for cell in wanted}
    trained = count_training()
    assert run_grid(wanted, store, RunOptions(measures=QUICK)) == len(wanted) and not trained
    later = {cell.key: store.get(cell.key) for cell in wanted}
    for key, record in later.items():
        assert record.model_copy(update={"outcomes": {}}) == before[key]
        evaded, corrupted = record.outcomes["evasion"], record.outcomes["corruption"]
        assert evaded.settings == EVASION and evaded.map < evaded.clean
        assert corrupted.settings == CORRUPTION
        assert record.lacking(QUICK) == NOTHING
        other = MeasureRequest.of(EvasionSettings(), CORRUPTION)
        assert record.lacking(other) == MeasureRequest.of(EvasionSettings())
    assert run_grid(wanted, store, RunOptions(measures=QUICK)) == 0 == run_grid(wanted, store)
    monkeypatch.undo()
    at_once = run_cell(wanted[0], measures=QUICK)
    assert at_once.outcomes == later[wanted[0].key].outcomes
    assert results_of(at_once)["evasion"] == at_once.outcomes["evasion"].map


def test_a_head_is_measured_as_the_network_that_it_completes():
    (cell,) = cells(seeds=(0,), reference=False)
    model = models.create(cell.model)
    head = model.head(10, seed=3)
    whole = Network(model.frozen(), model.head(10, seed=3))
    linear, tuned = (
        trained_run(cell.dataset, cell.model, trained, Compute(), protocol=protocol)
        for trained, protocol in ((head, "linear"), (whole, "finetune"))
    )
    found, same = CORRUPTION.measure(linear), CORRUPTION.measure(tuned)
    assert same.map == pytest.approx(found.map, abs=1e-6)
    assert same.by_severity[NOISY] == pytest.approx(found.by_severity[NOISY], abs=1e-6)
    assert EVASION.measure(linear) == EVASION.measure(tuned)


def test_only_what_boards_show_is_attacked(tmp_path):
    store = _store(tmp_path / "store")
    wanted = cells(lrs=(1e-2, 1e-3), seeds=(0,))
    seen = []

    def progress(what, done, total):
        seen.append(what)

    computed = run_selected(wanted, store, RunOptions(measures=QUICK), progress=progress)
    assert computed == len(wanted) == 4
    records = [store.get(cell.key) for cell in wanted]
    attacked = {r.key for r in records if "evasion" in r.outcomes}
    assert attacked == {r.key for r in selected_runs(records)} and len(attacked) == 2
    assert all("corruption" in r.outcomes for r in records) and "measured" in seen
    assert run_selected(wanted, store, RunOptions(measures=QUICK)) == 0
    (board,) = leaderboard.boards(records)
    assert all("evasion" in row.measured for row in board.rows)
    # Where weights are not kept there is nothing to come back to.
    other = _store(tmp_path / "other")
    run_selected(wanted, other, RunOptions(measures=QUICK, keep_weights=False))
    assert all("evasion" in other.get(cell.key).outcomes for cell in wanted)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELATTACK_CACHE", str(tmp_path_factory.mktemp("cache")))
        return [run_cell(cell, measures=QUICK) for cell in cells()]


def test_columns_are_means_and_differences_paired_by_seed(records):
    (board,) = leaderboard.boards(records)
    by_seed = {
        name: {r.cell.seed: r for r in records if (r.cell.attack == "none") == (name == "full")}
        for name in ("full", "attacked")
    }
    (row,) = [row for row in board.rows if row.attack != "none"]
    for name in ("evasion", "corruption"):
        full, own = (
            [by_seed[side][seed].outcomes[name] for seed in (0, 1)] for side in ("full", "attacked")
        )
        found = row.measured[name]
        maps = np.array([100 * o.map for o in own])
        assert found.map == pytest.approx(maps.mean())
        assert found.interval == pytest.approx(12.7062 * maps.std(ddof=1) / 2**0.5, rel=1e-4)
        kept = np.array([(o.map - o.chance) / (o.clean - o.chance) for o in own])
        assert found.kept == pytest.approx(kept.mean())
        before = [(o.map - o.chance) / (o.clean - o.chance) for o in full]
        apart = maps - [100 * o.map for o in full]
        assert found.to_reference == pytest.approx(apart.mean())
        assert found.to_reference_interval == pytest.approx(
            12.7062 * apart.std(ddof=1) / 2**0.5, rel=1e-4
        )
        assert found.kept_to_reference == pytest.approx((kept - before).mean())
        assert by_seed["attacked"][0].value(name, name) == own[0].map
    text, evasion = tables.to_markdown([board]), row.measured["evasion"]
    assert f"{evasion.map:.1f} ± {evasion.interval:.1f} ({100 * evasion.kept:.0f}%)" in text
    assert (
        "evasion: mAP on changed test images" in text
        and "eps 12.75/255, 2 steps, 20 images" in text
    )
    assert "kept=" in tables.to_csv([board])
    assert json.loads(tables.to_json([board]))[0]["rows"][1]["corruption"]["clean"] > 0


def test_other_ways_of_measuring_are_never_averaged(records):
    changed = [
        evasion_changed(r, {"settings": EvasionSettings()}) if r.cell.seed == 1 else r
        for r in records
    ]
    (board,) = leaderboard.boards(changed)
    assert all([*row.measured] == ["corruption", "class-drops"] for row in board.rows)
    assert all("evasion: not measured for each seed in one way" in row.notes for row in board.rows)
    plain = [r.model_copy(update={"outcomes": {}}) for r in records]
    (board,) = leaderboard.boards(plain)
    assert all([*row.measured] == ["class-drops"] for row in board.rows)
    assert "evasion:" not in tables.to_markdown([board])
    # Nothing is said of a share where a seed has learned nothing.
    none_learned = [evasion_changed(r, {"chance": 1.0}) if r.cell.seed == 1 else r for r in records]
    (board,) = leaderboard.boards(none_learned)
    assert all(
        row.measured["evasion"].kept is row.measured["evasion"].kept_to_reference is None
        for row in board.rows
    )
    assert all(row.measured["evasion"].to_reference is not None for row in board.rows)
    tables.to_markdown([board])
    # Differences are between equal measurements only.
    other = [
        evasion_changed(r, {"settings": EvasionSettings()}) if r.cell.attack == "none" else r
        for r in records
    ]
    (board,) = leaderboard.boards(other)
    (row,) = [row for row in board.rows if row.attack != "none"]
    assert row.measured["evasion"].to_reference is None and row.measured["evasion"].map > 0


def test_pictures_of_changed_pixels(records, tmp_path):
    (board,) = leaderboard.boards(records)
    draw_pixels(tmp_path / "p.png", board)
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.size[0] > 1000
    with pytest.raises(StoreError, match="bench --robustness"):
        draw_pixels(tmp_path / "q.png", board.model_copy(update={"rows": []}))


def test_errors_are_the_packages_own():
    with pytest.raises(LabelAttackError):
        read_request(["nothing"])
