"""D-Score: closed forms, equivalences of ways to compute it, and models of known behaviour."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from torch import nn

from labelattack import datasets, models, mutations
from labelattack.datasets.base import Split
from labelattack.datasets.images import ArrayImages
from labelattack.errors import DatasetError, ModelError, ParameterError, UnknownNameError
from labelattack.measures._d_score.ablation import (
    PatchFeatures,
    PatchReadout,
    mutants,
    without_patches,
)
from labelattack.measures._d_score.distributions import (
    AblationLogits,
    DScore,
    attention_nonuniformity,
    bootstrap_interval,
    box_density,
    distance,
    distribution,
    fitness,
    map_gain,
    margin,
    resample_counts,
    upsample,
)
from labelattack.measures._d_score.scoring import (
    ablation_logits_of_head,
    ablation_logits_of_network,
    diagnose,
    patch_features,
)
from labelattack.measures._d_score.stage import mutated, stage_shape
from labelattack.measures._d_score.translation import shift
from labelattack.measures.d_score import DScoreSettings, d_score
from labelattack.measures.run import choose_images
from labelattack.metrics.average_precision import mean_average_precision
from labelattack.mutations.base import Stage, cell_masks
from labelattack.training.compute import ONE_CPU
from labelattack.training.inputs import ImageInputs

CPU = torch.device("cpu")
QUICK = DScoreSettings(resamples=0)


def small(rows=24):
    return datasets.create("digits:train=10,val=10,test=100").load().test.take(np.arange(rows))


def inputs_of(split):
    return ImageInputs(split.images, models.create("tiny").preprocessing, CPU)


class Head(nn.Module):
    """A user's own network: not linear after its last stage."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU())
        self.classify = nn.Sequential(
            nn.Flatten(), nn.Linear(8 * 36, 16), nn.ReLU(), nn.Linear(16, 10)
        )

    def forward(self, images):
        return self.classify(self.features(images))


@torch.no_grad()
def taught(network, split, inputs):
    """The network with a head that separates class means, so that there is evidence to lose."""
    seen = []
    handle = network.head.register_forward_pre_hook(lambda m, i: seen.append(i[0]))
    (batch,) = inputs.stream([np.arange(len(inputs))])
    network.eval()(batch)
    handle.remove()
    labels = torch.tensor(split.labels).float()
    have, lack = ((y.T @ seen[0]) / y.sum(0)[:, None].clamp_min(1) for y in (labels, 1 - labels))
    network.head.weight.copy_(have - lack)
    return network


# Pure functions


@pytest.mark.parametrize("kind", ["jensen-shannon", "total-variation"])
def test_attention_on_one_cell_gives_the_computable_maximum(kind):
    for cells in (4, 9, 49):
        one = np.eye(cells)[2]
        if kind == "total-variation":
            expected = 1 - 1 / cells
        else:
            middle = (1 + 1 / cells) / 2
            divergence = (
                -math.log2(middle) / 2
                + (math.log2(1 / cells / middle) / cells + (cells - 1) / cells) / 2
            )
            expected = math.sqrt(divergence)
        assert attention_nonuniformity(one, kind) == pytest.approx(expected, abs=1e-12)
        others = np.random.default_rng(0).dirichlet(np.ones(cells), 50)
        assert (attention_nonuniformity(others, kind) < expected).all()


def test_uniform_attention_gives_zero_and_equal_distributions_one():
    assert attention_nonuniformity(np.full(9, 1 / 9)) == 0
    some = np.random.default_rng(0).dirichlet(np.ones(9))
    assert fitness(some, some) == 1


SHARES = st.integers(0, 10**6).map(lambda n: n / 10**6)


@given(st.lists(st.tuples(SHARES, SHARES), min_size=2, max_size=12))
def test_distance_is_scipys_and_symmetric(pairs):
    p, q = (distribution(np.array(x)) for x in zip(*pairs, strict=True))
    if np.isnan(p).any() or np.isnan(q).any():
        assert math.isnan(distance(p, q))
        return
    with np.errstate(invalid="ignore"):  # equal ones: the root of a tiny negative number
        expected = np.nan_to_num(jensenshannon(p, q, base=2))
    assert distance(p, q) == pytest.approx(expected, abs=1e-6)
    assert 0 <= distance(p, q) <= 1 and distance(p, q) == pytest.approx(distance(q, p), abs=1e-6)
    assert distance(p, q, "total-variation") == pytest.approx(np.abs(p - q).sum() / 2)


def test_the_smallest_floats_are_no_distance():
    p, q = np.array([0.0, 1.0]), np.array([5e-324, 1.0])
    assert distance(p, q) == distance(q, p) == 0


def test_distribution_without_evidence_is_undefined():
    assert np.isnan(distribution(np.array([-1.0, 0.0]))).all()
    assert distribution(np.array([-1.0, 1.0, 3.0])).tolist() == [0, 0.25, 0.75]
    assert DScore(None, 0.5).value is None and DScore(0.25, 1.0).value == 0.75


def test_margin_equals_a_loop_and_ignores_shifts():
    rng = np.random.default_rng(1)
    scores, labels = rng.normal(size=(3, 20, 5)), rng.random((20, 5)) < 0.4
    labels[:, 4] = False
    scored = rng.random((20, 5)) < 0.8
    counts = resample_counts(20, 4, np.random.Generator(np.random.PCG64(0)))
    assert (counts.sum(axis=1) == 20).all()
    found = margin(scores, labels, scored=scored, weights=counts)
    for b, v in np.ndindex(found.shape):
        rows = np.repeat(np.arange(20), counts[b].astype(int))
        gaps = []
        for c in range(5):
            kept = [r for r in rows if scored[r, c]]
            have = [scores[v, r, c] for r in kept if labels[r, c]]
            lack = [scores[v, r, c] for r in kept if not labels[r, c]]
            if have and lack:
                gaps.append(np.mean(have) - np.mean(lack))
        assert found[b, v] == pytest.approx(np.mean(gaps))
    assert margin(scores + 7, labels) == pytest.approx(margin(scores, labels))
    assert np.isnan(margin(scores, labels & False)).all()


def test_map_evidence_is_map_above_chance():
    rng = np.random.default_rng(1)
    scores, labels = rng.normal(size=(2, 30, 4)), rng.random((30, 4)) < 0.4
    chance = labels.mean(axis=0).mean()
    for variant, found in zip(scores, map_gain(scores, labels)[0], strict=True):
        assert found == pytest.approx(mean_average_precision(variant, labels) - chance)


def test_upsample_keeps_what_was_measured():
    values = np.random.default_rng(0).random((2, 3, 3))
    full = upsample(values.reshape(2, 9), (3, 3), (6, 6), 2).reshape(2, 6, 6)
    assert full[:, ::2, ::2] == pytest.approx(values)
    assert full[:, 1, 0] == pytest.approx(values[:, :2, 0].mean(axis=1))
    assert full[:, 5] == pytest.approx(full[:, 4])


def test_box_density_is_area_overlap():
    boxes = np.array([[0, 0, 0.5, 0.5], [0.25, 0, 0.75, 1]])
    assert box_density(boxes, 2, 2) == pytest.approx([1 + 0.25, 0.25, 0.25, 0.25])
    assert box_density(np.empty((0, 4)), 2, 2).tolist() == [0, 0, 0, 0]


def test_bootstrap_interval_reflects_and_needs_defined_resamples():
    assert bootstrap_interval(0.5, np.linspace(0.5, 0.7, 101)) == pytest.approx((0.305, 0.495))
    assert bootstrap_interval(0.5, np.array([0.5, np.nan])) is None
    assert bootstrap_interval(0.5, np.array([])) is None


# Grids and mutants


@given(st.integers(2, 9), st.integers(2, 9), st.data())
def test_cells_have_one_area_and_cover_the_map_once(height, width, data):
    rows, columns = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    masks = cell_masks(Stage(1, height, width, rows, columns))
    assert masks.sum(axis=0) == pytest.approx(np.ones((height, width)), abs=1e-5)
    assert masks.sum(axis=(1, 2)) == pytest.approx(height * width / (rows * columns), rel=1e-4)


@pytest.mark.parametrize("grid", [3, 4, 6])
def test_deletion_by_hook_and_by_algebra_agree(grid):
    network = models.create("tiny").build(10, seed=0).eval().requires_grad_(False)
    (batch,) = inputs_of(small()).stream([np.arange(24)])
    stage = stage_shape(network, "backbone", batch[:1], grid=grid)
    deleted = mutants(stage, QUICK)
    by_hook = without_patches(network, "backbone", batch, stage, deleted)
    by_algebra = without_patches(network, "backbone", batch, stage, deleted, network.head)
    for first, second in zip(by_hook, by_algebra, strict=True):
        torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-5)
    parts = PatchReadout(stage, QUICK)(network.backbone, batch)
    cached = ablation_logits_of_head(
        network.head, PatchFeatures(*(v.numpy() for v in parts.values()))
    )
    assert cached.deleted == pytest.approx(by_hook[1].numpy(), abs=1e-5)
    looks, _ = ablation_logits_of_network(
        network, "backbone", inputs_of(small()), DScoreSettings(grid=grid)
    )
    assert cached.shifted == pytest.approx(looks.shifted, abs=1e-5)


def test_it_does_not_matter_who_fills_the_cache():
    """To the last bit: a machine that finds an empty cache must not tell another number."""
    split, stage = small(100), Stage(64, 6, 6, 6, 6)
    model = models.registry.resolve("tiny")
    filled, read = (patch_features(split, model, stage, QUICK, ONE_CPU) for _ in range(2))
    for seed in range(5):
        head = nn.Linear(64, 10)
        nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(seed))
        for one, two in zip(
            ablation_logits_of_head(head, filled), ablation_logits_of_head(head, read), strict=True
        ):
            assert np.array_equal(one, two)


def test_batched_mutants_and_one_by_one_agree():
    network = Head().eval()
    (batch,) = inputs_of(small()).stream([np.arange(24)])
    stage = stage_shape(network, "features", batch[:1], grid=3)
    masks = torch.from_numpy(mutants(stage, QUICK))
    _, together = without_patches(network, "features", batch, stage, masks.numpy())
    for number, mask in enumerate(masks):
        for row in range(3):
            with torch.inference_mode(), mutated(network, "features", 1 - mask[None]):
                alone = network(batch[row : row + 1])
            torch.testing.assert_close(alone[0], together[number, row], atol=1e-5, rtol=1e-5)
    with torch.inference_mode():
        kept = network.features(batch[:1])
        by_hand = network.classify(kept * (1 - masks[4]))
    torch.testing.assert_close(by_hand[0], together[4, 0], atol=1e-5, rtol=1e-5)


def test_mutation_leaves_no_trace():
    network = Head()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    (batch,) = inputs_of(small()).stream([np.arange(4)])
    whole = network(batch)
    ablation_logits_of_network(network, "features", inputs_of(small()), QUICK)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    torch.testing.assert_close(network(batch), whole)
    assert not any(m._forward_hooks for m in network.modules())


def test_linear_heads_lose_the_same_by_channel_as_by_cell():
    network, split = models.create("tiny").build(10, seed=0), small()
    found = [
        ablation_logits_of_network(
            network, "backbone", inputs_of(split), DScoreSettings(operator=name, features="boxes")
        )
        for name in ("delete-cell", "delete-channel")
    ]
    assert found[0][0].deleted == pytest.approx(found[1][0].deleted, abs=1e-4)


def test_delete_weight_deletes_its_share():
    stage = Stage(10, 4, 4, 2, 2)
    masks = mutations.create("delete-weight:share=0.3,repeats=5")(stage, seed=1)
    assert masks.shape == (20, 10, 4, 4)
    assert masks.sum(axis=(1, 2, 3)) == pytest.approx(np.full(20, 3 * 4))


# Shifting


def test_shift_moves_a_region_and_fills_the_border():
    image = torch.arange(36.0).reshape(1, 1, 6, 6) + 1
    moved = shift(image, (1, 1), (3, 4))[0, 0]
    assert (
        moved[2:, 3:].equal(image[0, 0, :4, :3]) and not moved[:2].any() and not moved[:, :3].any()
    )
    wrapped = shift(image, (1, 1), (3, 4), border="wrap")
    assert wrapped.equal(image.roll((2, 3), (2, 3)))
    assert shift(image, (1, 1), (3, 4), border="edge")[0, 0, 0, 0] == image[0, 0, 0, 0]
    still = shift(image, (3, 3), (3, 3), zoom=1.0)
    assert still.equal(image)


def test_zoom_keeps_the_target_and_enlarges():
    image = torch.zeros(1, 1, 16, 16)
    image[:, :, 6:10, 6:10] = 1
    near = shift(image, (8, 8), (8, 8), zoom=2)
    assert near[0, 0, 8, 8] == 1 and near.sum() > 3 * image.sum()


# Models of known behaviour


class Circular(nn.Module):
    """Equivariant to every shift: stride 1 blocks of 4 pixels, wrapping around."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.stage = nn.Sequential(
            nn.Conv2d(3, 12, 5, padding=2, padding_mode="circular"), nn.ReLU(), nn.AvgPool2d(4)
        )
        self.head = nn.Linear(12, 10)

    def forward(self, images):
        return self.head(self.stage(images).mean((2, 3)))


def test_an_equivariant_model_has_attention_equal_to_features():
    network = taught(Circular(), small(60), inputs_of(small(60)))
    found = d_score(
        network, small(60), inputs_of(small(60)), stage="stage",
        settings=DScoreSettings(border="wrap", resamples=20),
    )  # fmt: skip
    assert found.attention == pytest.approx(found.features, abs=1e-5)
    assert found.fitness == pytest.approx(1, abs=1e-3)
    assert found.d_score == found.fitness - found.robustness


class Constant(nn.Module):
    """Puts the mean image everywhere: constant over space."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.stage = nn.Conv2d(3, 8, 1)
        self.head = nn.Linear(8, 10)

    def forward(self, images):
        whole = images.mean((2, 3), keepdim=True).expand(-1, -1, 4, 4)
        return self.head(self.stage(whole).mean((2, 3)))


def test_a_model_constant_over_space_has_robustness_zero():
    network = taught(Constant(), small(60), inputs_of(small(60)))
    found = d_score(network, small(60), inputs_of(small(60)), stage="stage", settings=QUICK)
    assert found.robustness == pytest.approx(0, abs=1e-3)


class OneCell(nn.Module):
    """Reads one cell of its last stage."""

    def __init__(self, row, column):
        super().__init__()
        torch.manual_seed(3)
        self.row, self.column = row, column
        self.stage = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(6))
        self.head = nn.Linear(8, 10)

    def forward(self, images):
        return self.head(self.stage(images)[:, :, self.row, self.column])


def test_a_model_that_reads_one_cell_attends_to_it():
    network = taught(OneCell(1, 3), small(60), inputs_of(small(60)))
    found = d_score(network, small(60), inputs_of(small(60)), stage="stage", settings=QUICK)
    assert found.attention == pytest.approx(np.eye(16)[7])
    assert found.robustness == pytest.approx(float(attention_nonuniformity(np.eye(16)[7])))
    # What is shown at the centre is not at the cell that it reads.
    assert found.features is None and found.fitness is None and found.d_score is None


def test_undefined_is_reported_as_undefined():
    labels = np.eye(3, dtype=bool)
    looks = AblationLogits(np.zeros((3, 3)), np.zeros((4, 3, 3)), np.zeros((4, 3, 3)))
    split = Split(ArrayImages(np.zeros((3, 4, 4), np.uint8)), labels, list("abc"))
    found = diagnose(looks, split, Stage(1, 2, 2, 2, 2), DScoreSettings(resamples=10))
    assert found.robustness is found.fitness is found.d_score is found.d_score_interval is None
    assert '"d_score":null' in found.model_dump_json()
    with pytest.raises(DatasetError, match="with boxes"):
        diagnose(looks, split, Stage(1, 2, 2, 2, 2), DScoreSettings(features="boxes"))


@pytest.mark.parametrize(
    "spec", ["tiny", "resnet18:weights=none,size=64", "efficientnet-lite0:size=64"]
)
def test_every_model_can_be_scored(spec):
    model, split = models.create(spec), small(40)
    inputs = ImageInputs(split.images, model.preprocessing, CPU)
    network = taught(model.build(10, seed=0), split, inputs)
    found = d_score(
        network, split, inputs, stage="backbone", settings=DScoreSettings(grid=2, resamples=3)
    )
    assert found.rows == found.columns == 2 and len(found.attention) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"step": 2},
        {"zoom": 1.5},
        {"border": "reflect"},
        {"evidence": "map"},
        {"features": "boxes"},
        {"distance": "total-variation"},
        {"operator": "delete-weight"},
    ],
)
def test_every_choice_gives_scores_in_range(change):
    network, split = models.create("tiny").build(10, seed=0), small(60)
    found = d_score(
        network,
        split,
        inputs_of(split),
        stage="backbone",
        settings=DScoreSettings(resamples=5, **change),
    )
    assert 0 <= found.robustness <= 1 and 0 <= found.fitness <= 1
    assert sum(found.attention) == pytest.approx(1) and sum(found.features) == pytest.approx(1)


def test_wrong_stages_are_named_with_the_right_one():
    network, inputs = Head(), inputs_of(small(4))
    with pytest.raises(ModelError, match=r"larger than 1 x 1.*the last one that has is 'features'"):
        ablation_logits_of_network(network, "classify", inputs, QUICK)
    with pytest.raises(UnknownNameError, match="did you mean 'features'"):
        ablation_logits_of_network(network, "feature", inputs, QUICK)
    with pytest.raises(ParameterError, match="grid must be 2 to 6"):
        ablation_logits_of_network(network, "features", inputs, DScoreSettings(grid=7))
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, 10))
    with pytest.raises(ModelError, match="it has none"):
        ablation_logits_of_network(flat, "1", inputs, QUICK)


def test_chosen_images_hold_every_label_evenly():
    labels = np.zeros((1000, 3), dtype=bool)
    labels[:900, 0], labels[900:950, 1], labels[950:960, 2] = True, True, True
    rows = choose_images(labels, 60)
    assert len(rows) == 60 and (np.diff(rows) > 0).all()
    assert labels[rows].sum(axis=0).tolist() == [25, 25, 10]
    assert choose_images(labels, 2000).tolist() == list(range(1000))
    assert np.array_equal(rows, choose_images(labels, 60))
