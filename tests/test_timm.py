"""Architectures of timm: maps, weights, sizes, and what records say of them."""

import json
import socket
import sys
import warnings

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.data import resolve_data_config

import labelattack
from labelattack import datasets, models
from labelattack.errors import LabelAttackError, ModelError, ParameterError
from labelattack.models import library
from labelattack.models.library import as_map, layout
from tests.conftest import SMALL_DIGITS
from tests.library_models import assert_refused, saved, scored

VIT = "timm:name=test_vit,weights=none,size=32"
SWIN = "timm:name=swin_tiny_patch4_window7_224,weights=none,size=64"
SMALL = (
    VIT, SWIN, "timm:name=test_resnet,weights=none,size=64",
    "timm:name=test_efficientnet,weights=none,size=64",
    "timm:name=test_convnext,weights=none,size=64", "timm:name=test_mambaout,weights=none,size=64",
    "timm:name=deit_tiny_distilled_patch16_224,weights=none,size=32",
)  # fmt: skip


def images_of(model, count=2):
    side = model.preprocessing.size
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("spec", SMALL)
def test_backbones_give_maps_with_the_channels_that_the_model_says(spec):
    model = models.create(spec)
    with torch.inference_mode():  # as features are extracted
        maps = model.frozen()(images_of(model))
        logits = model.build(4, seed=0)(images_of(model))
    assert maps.shape[:2] == (2, model.channels) and maps.shape[2] == maps.shape[3] > 1
    assert logits.shape == (2, 4)


def test_channels_are_found_once_without_building_a_network(monkeypatch):
    layout.cache_clear()
    assert models.create(VIT).channels == 64
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: pytest.fail("a network was built"))
    assert models.create(VIT).channels == 64


@pytest.mark.parametrize("spec", [VIT, SMALL[-1]])
def test_tokens_of_patches_are_laid_out_row_by_row_without_class_tokens(spec):
    model = models.create(spec)
    backbone = model.frozen()
    maps, tokens = backbone(images_of(model)), backbone.network.forward_features(images_of(model))
    before, side = tokens.shape[1] - 4, 2
    assert before == (2 if "distilled" in spec else 1)
    for row in range(side):
        for column in range(side):
            assert torch.equal(maps[:, :, row, column], tokens[:, before + side * row + column])


def test_maps_with_channels_last_are_turned():
    model = models.create(SWIN)
    backbone = model.frozen()
    maps, last = backbone(images_of(model)), backbone.network.forward_features(images_of(model))
    assert torch.equal(maps.permute(0, 2, 3, 1), last) and last.shape[-1] == model.channels


def test_a_patch_of_the_map_follows_its_part_of_the_image():
    """Of a convolutional and a token model, by the patch that a local change moves most."""
    for spec in ("timm:name=test_resnet,weights=none,size=128", VIT.replace("size=32", "size=64")):
        model = models.create(spec)
        backbone, image = model.frozen(), torch.zeros_like(images_of(model, 1))
        changed, side = image.clone(), image.shape[2]
        changed[:, :, : side // 4, -side // 4 :] = 1  # the upper right corner
        moved = (backbone(changed) - backbone(image)).abs().sum((0, 1))
        row, column = divmod(int(moved.argmax()), moved.shape[1])
        assert (row, column) == (0, moved.shape[1] - 1)


@pytest.mark.parametrize(
    ("shape", "how", "found"),
    [
        ((2, 9, 5), {}, (2, 5, 3, 3)),
        ((2, 10, 5), {}, (2, 5, 3, 3)),
        ((2, 13, 5), {"prefix": 4}, (2, 5, 3, 3)),
        ((2, 5, 3, 4), {}, (2, 5, 3, 4)),
        ((2, 3, 4, 5), {"channels_last": True}, (2, 5, 3, 4)),
    ],
)
def test_outputs_become_maps(shape, how, found):
    assert as_map(torch.zeros(shape), **how).shape == found


@pytest.mark.parametrize("output", [torch.zeros(2, 1, 5), torch.zeros(2, 5), torch.zeros(2, 8, 5),
                                    [torch.zeros(2, 9, 5)]])  # fmt: skip
def test_what_is_no_map_is_refused(output):
    with pytest.raises(ModelError, match="its last stage must give"):
        as_map(output)


# --- names and sizes


def test_size_and_weights_are_part_of_the_resolved_spec():
    resolved = dict(models.registry.resolve("timm:name=test_vit,weights=none").params)
    assert (resolved["size"], resolved["weights"], resolved["name"]) == (160, None, "test_vit")
    assert dict(models.registry.resolve(VIT).params)["size"] == 32


def test_published_weights_are_named_with_their_tag():
    spec = models.registry.resolve("timm:name=vit_tiny_patch16_224")
    assert dict(spec.params)["name"] == "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    assert "weights=pretrained" in models.registry.short(str(spec))


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "convnext_atto"])
def test_preprocessing_is_that_of_timm(name):
    found = models.create(f"timm:name={name},weights=none").preprocessing
    wanted = resolve_data_config(model=timm.create_model(name))
    assert (found.mean, found.std) == (wanted["mean"], wanted["std"])
    assert (3, found.size, found.size) == wanted["input_size"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("name=vit_tny,weights=none", "got 'vit_tny'; nearest: vit_tiny_patch16_224, "),
        ("name=test_vit.r160", "must have a tag that timm knows, got 'test_vit.r160'; nearest: "
                               "test_vit.r160_in1k"),
        ("name=coatnet_0_224", "must have published weights, got 'coatnet_0_224', which has none"),
        ("name=test_vit,weights=none,size=40", "such as its own, 160, got size 40: "),
        ("name=crossvit_9_240,weights=none", "its last stage must give one map, got a list"),
        ("name=pit_ti_224,weights=none", "tokens of a square of patches, got [1, 1, 256]"),
        ("weights=none", "needs parameter 'name', got none"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_refused_with_what_can(given, message):
    assert_refused(f"timm:{given}", message)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(LabelAttackError, match=r"pip install 'labelattack\[timm\]'"):
        models.registry.resolve(VIT)


# --- weights


@pytest.fixture
def offline(monkeypatch):
    def refused(*arguments, **how):
        raise OSError("no network here")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


def test_random_weights_need_no_network(offline):
    layout.cache_clear()
    assert models.create("timm:name=test_resnet,weights=none").build(3, seed=0) is not None


def test_published_weights_without_a_network_are_one_clear_error(offline, capfd, tmp_path,
                                                                 monkeypatch):  # fmt: skip
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = models.create("timm:name=test_vit")
    with pytest.raises(ModelError) as said:
        model.backbone()
    assert "weights of 'test_vit.r160_in1k' cannot be had: " in str(said.value)
    assert str(said.value).endswith("give weights=PATH of a state dict, or weights=none")
    assert capfd.readouterr() == ("", "")


def test_published_weights_that_were_downloaded_before_need_no_network(offline, tmp_path,
                                                                       monkeypatch):  # fmt: skip
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--timm--test_vit.r160_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123")
    (repository / "snapshots" / "0123").mkdir(parents=True)
    network = timm.create_model("test_vit").eval()
    save_file(network.state_dict(), repository / "snapshots" / "0123" / "model.safetensors")
    model = models.create("timm:name=test_vit")
    images = images_of(model, 1)
    assert torch.equal(model.frozen()(images), as_map(network.forward_features(images)))
    model = models.create("timm:name=test_vit,size=96")  # positions are resampled
    assert model.frozen()(images_of(model, 1)).shape == (1, 64, 6, 6)


@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
def test_a_file_of_weights_fills_the_backbone_whatever_its_head(tmp_path, name):
    network = timm.create_model(name, num_classes=7).eval()
    path = saved(tmp_path / "w.ckpt", network, "model.")
    model = models.create(f"timm:name={name},weights={path}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backbone = model.frozen()
    images = images_of(model, 1)
    assert torch.equal(backbone(images), as_map(network.forward_features(images)))
    assert "+weights-" in models.registry.version(models.registry.resolve(
        f"timm:name={name},weights={path}"))  # fmt: skip


def test_weights_of_another_architecture_are_refused(tmp_path):
    path = saved(tmp_path / "w.pt", timm.create_model("test_resnet"))
    with pytest.raises(ModelError, match="must fit the model"):
        models.create(f"timm:name=test_vit,weights={path}").backbone()


def test_layers_after_the_map_are_not_trained():
    network = models.create("timm:name=test_convnext,weights=none,size=64").build(3, seed=0)
    network(torch.zeros(1, 3, 64, 64)).sum().backward()
    idle = {name for name, p in network.named_parameters() if p.grad is None}
    assert idle == {name for name, p in network.named_parameters() if not p.requires_grad}
    assert idle and all(".head." in name for name in idle)


# --- classifiers as networks


def test_a_classifier_on_the_average_of_its_map_is_a_network():
    for spec in (SMALL[2], SWIN):
        model = models.create(spec)
        classifier = model.classifier(5).eval()
        network = model.as_network(classifier)
        images = images_of(model, 3)
        assert torch.allclose(network(images), classifier(images), atol=1e-5)


def test_a_classifier_on_its_class_token_is_none():
    model = models.create(VIT)
    assert model.as_network(model.classifier(5)) is None
    convolutional = models.create(SMALL[4])  # ConvNeXt normalises after pooling
    classifier = convolutional.classifier(5)
    classifier.head.norm.weight.data.mul_(3)
    assert convolutional.as_network(classifier) is None


# --- runs


@pytest.mark.parametrize("protocol", ["finetune", "linear"])
def test_token_models_train_and_records_say_on_what(tmp_path, protocol):
    results = labelattack.bench(
        datasets=["digits:train=16,val=12,test=20"], model=VIT, protocol=protocol, defenses=["an"],
        seeds=1, epochs=1, lrs=[0.001], batch_sizes=[8], d_score="images=4,resamples=0", jobs=1,
        reference=False, progress=False, out=tmp_path / "store",
    )  # fmt: skip
    (record,) = results.records
    assert record.status == "done", record.reason
    assert record.libraries["timm"] == timm.__version__
    found = record.outcomes["d-score"]
    assert (found.rows, found.columns) == (2, 2) and len(found.attention) == 4
    written = json.loads(next((tmp_path / "store" / "records").glob("*.json")).read_text())
    wanted = {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3, "flip": True}
    assert written["preprocessing"] == wanted


def test_features_of_another_version_of_the_library_are_others(monkeypatch):
    from labelattack.training import feature_cache

    split, spec = datasets.create(SMALL_DIGITS).load().val, models.registry.resolve(VIT)
    keys = {feature_cache._key(split, spec, feature_cache.PooledReadout()) for _ in range(2)}
    monkeypatch.setattr(feature_cache, "installed", lambda name: {"timm": "99"}[name])
    keys.add(feature_cache._key(split, spec, feature_cache.PooledReadout()))
    assert len(keys) == 2


def test_the_grid_divides_a_map_of_fourteen_patches_into_seven():
    from labelattack.measures._d_score.logits import stage_of
    from labelattack.measures.d_score import DScoreSettings
    from labelattack.measures.run import Setup

    splits = datasets.create(SMALL_DIGITS).load()
    spec = models.registry.resolve("timm:name=test_vit,weights=none,size=224")
    stage = stage_of(Setup(splits, spec, "finetune"), DScoreSettings())
    assert (stage.height, stage.width, stage.rows, stage.columns) == (14, 14, 7, 7)


@pytest.mark.parametrize(("name", "looks"), [("test_vit", False), ("test_resnet", True)])
def test_a_strangers_checkpoint_is_scored(tmp_path, told, name, looks):
    """In Lightning's layout; its mAP is that of the classifier as timm builds it."""
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=10).eval()
    path = saved(tmp_path / "theirs.ckpt", network, "model.")
    found = scored(told, path, f"timm:name={name}", network, f"timm:name={name},weights=none")
    assert (found["diagnosis"] is not None) == looks
    assert bool(found["note"]) != looks


def test_unknown_names_bring_three_neighbours():
    assert library.nearest("reznet50", ["resnet50", "resnet5", "vgg", "swin"]).startswith(
        "got 'reznet50'; nearest: resnet50, resnet5, "
    )


def test_parameters_are_checked_from_python_too():
    with pytest.raises(ParameterError, match="must be an architecture of timm"):
        models.registry.get("timm")(name="nothing_like_it")
