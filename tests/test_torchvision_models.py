"""Classifiers of torchvision: maps, weights, sizes, and scoring what strangers trained."""

import pytest
import torch
import torchvision
from torchvision.models import DenseNet, MaxVit, SwinTransformer, VisionTransformer
from torchvision.models.inception import Inception3

import labelattack
from labelattack import models
from labelattack.errors import ModelError
from labelattack.models.base import pool
from labelattack.models.torchvision import up_to_map
from tests.conftest import SMALL_DIGITS
from tests.library_models import assert_refused, saved, scored

# A small one of each way of building; whether their head is linear in the pooled map.
SMALL = {
    "alexnet": False, "squeezenet1_0": False, "mobilenet_v3_small": False, "vgg11": False,
    "mnasnet0_5": True, "shufflenet_v2_x0_5": True, "regnet_x_400mf": True, "resnet18": True,
    "googlenet": True, "mobilenet_v2": True, "efficientnet_b0": True,
}  # fmt: skip


def images(side, count=2):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", [name for name in SMALL if name != "vgg11"])
def test_backbones_give_maps_with_the_channels_that_the_model_says(name):
    model = models.create(f"torchvision:name={name},weights=none,size=64")
    classifier = model.classifier(5).eval()
    network = model.as_network(classifier)
    assert (network is not None) == SMALL[name]
    with torch.inference_mode():
        maps = model.to_map(classifier)(images(64))
        assert maps.shape[:2] == (2, model.channels) and maps.ndim == 4
        if network is not None:
            assert torch.allclose(network(images(64)), classifier(images(64)), atol=1e-4)


def densenet():
    return DenseNet(4, (1, 1), 8, num_classes=3), lambda net, maps: net.classifier(pool(maps))


def swin():
    network = SwinTransformer([4, 4], 8, [1, 1], [2, 2], [2, 2], num_classes=3)
    return network, lambda net, maps: net.head(pool(maps))


def maxvit():
    network = MaxVit((64, 64), 8, 2, [8], [1], 4, 0.0, num_classes=3)
    return network, lambda net, maps: net.classifier(maps)


@pytest.mark.parametrize("build", [densenet, swin, maxvit])
def test_what_follows_the_map_makes_the_same_logits_of_it(build):
    network, rest = build()
    network.eval()
    assert torch.allclose(rest(network, up_to_map(network)(images(64))), network(images(64)))


def test_tokens_of_a_vision_transformer_are_laid_out_row_by_row():
    network = VisionTransformer(48, 16, 1, 2, 8, 8, num_classes=3).eval()
    seen = []
    network.encoder.register_forward_hook(lambda m, i, o: seen.append(o))
    network(images(48))
    maps = up_to_map(network)(images(48))
    assert maps.shape == (2, 8, 3, 3)
    for row in range(3):
        for column in range(3):
            assert torch.equal(maps[:, :, row, column], seen[0][:, 1 + 3 * row + column])


def test_a_transformer_on_its_class_token_is_no_network():
    """Torchvision's head is zero at first, so that logits alone would not tell."""
    model = models.create("torchvision:name=vit_b_32,weights=none,size=64")
    assert model.as_network(model.classifier(3)) is None


# --- names, sizes, preprocessing


def test_weights_and_size_are_resolved():
    params = dict(models.registry.resolve("torchvision:name=resnet50").params)
    assert (params["weights"], params["size"]) == ("IMAGENET1K_V2", 224)
    params = dict(
        models.registry.resolve(
            "torchvision:name=vit_b_16,weights=imagenet1k_swag_e2e_v1"
        ).params
    )  # fmt: skip
    assert (params["weights"], params["size"]) == ("IMAGENET1K_SWAG_E2E_V1", 384)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_v2_s", "swin_v2_t"])
def test_preprocessing_is_that_of_the_published_weights(name):
    preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    for weights in ("default", "none"):
        found = models.create(f"torchvision:name={name},weights={weights}").preprocessing
        assert [found.size] == preset.crop_size
        assert (list(found.mean), list(found.std)) == (preset.mean, preset.std)


def test_pixels_of_inception_are_as_torchvision_turns_them_inside():
    found = models.create("torchvision:name=inception_v3").preprocessing
    preset = torchvision.models.Inception_V3_Weights.DEFAULT.transforms()
    pixels = torch.rand(1, 3, 4, 4)
    taken = torchvision.transforms.functional.normalize(pixels, preset.mean, preset.std)

    class Turning(Inception3):
        def __init__(self):
            torch.nn.Module.__init__(self)
            self.transform_input = True

    inside = Turning()._transform_input(taken)
    ours = torchvision.transforms.functional.normalize(pixels, found.mean, found.std)
    assert torch.allclose(inside, ours, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("name=resnet5,weights=none", "must be a classifier of torchvision, got 'resnet5'; "
                                      "nearest: resnet"),
        ("name=raft_small", "must be a classifier of torchvision, got 'raft_small'"),
        ("name=resnet18,weights=IMAGENET1K_V2", "must be IMAGENET1K_V1, default, none or a path"),
        ("name=vit_b_16,weights=none,size=100", "such as its own, 224, got size 100: "),
        ("name=maxvit_t,weights=none,size=128", "such as its own, 224, got size 128: "),
        ("weights=none", "needs parameter 'name', got none"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_refused_with_what_can(given, message):
    assert_refused(f"torchvision:{given}", message)


# --- weights


@pytest.fixture
def published(monkeypatch):
    """Lets torchvision publish local weights, each twice its number."""
    from torchvision.models._api import WeightsEnum

    def state(self, **how):
        assert how == {"check_hash": True, "weights_only": True}
        whole = torchvision.models.get_model("shufflenet_v2_x0_5", weights=None).state_dict()
        return {name: torch.full_like(entry, 2) for name, entry in whole.items()}

    monkeypatch.setattr(WeightsEnum, "get_state_dict", state)


def test_published_weights_fill_the_backbone(published):
    state = models.create("torchvision:name=shufflenet_v2_x0_5").backbone().state_dict()
    assert state and all(bool((entry == 2).all()) for entry in state.values())


def test_published_weights_that_cannot_be_had_are_one_clear_error(monkeypatch):
    from torchvision.models._api import WeightsEnum

    def refused(self, **how):
        raise OSError("no network here")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", refused)
    with pytest.raises(ModelError, match="weights IMAGENET1K_V1 of 'resnet18' cannot be had: OSE"):
        models.create("torchvision:name=resnet18").backbone()


def test_a_file_of_weights_fills_the_backbone_whatever_its_head(tmp_path, recwarn):
    network = torchvision.models.shufflenet_v2_x0_5(num_classes=7).eval()
    path = saved(tmp_path / "w.ckpt", network, "module.")
    backbone = models.create(f"torchvision:name=shufflenet_v2_x0_5,weights={path}").frozen()
    assert torch.equal(backbone(images(64)), up_to_map(network)(images(64)))
    assert not recwarn.list


# --- runs and strangers


def test_it_trains(tmp_path):
    results = labelattack.bench(
        datasets=["digits:train=16,val=12,test=20"], defenses=["an"], seeds=1, epochs=1,
        model="torchvision:name=shufflenet_v2_x0_5,weights=none,size=64", lrs=[0.001],
        batch_sizes=[8], d_score="images=4,resamples=0", jobs=1, reference=False, progress=False,
        out=tmp_path / "store",
    )  # fmt: skip
    (record,) = results.records
    assert record.status == "done", record.reason
    assert "timm" not in record.libraries and record.preprocessing["size"] == 64


@pytest.mark.parametrize("prefix", ["", "model.", "backbone."])
@pytest.mark.parametrize("model", ["torchvision:name=resnet18,size=64", "resnet18:size=64"])
def test_a_strangers_checkpoint_is_scored(tmp_path, told, prefix, model):
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=10).eval()
    path = saved(tmp_path / "theirs.ckpt", network, prefix)
    found = scored(told, path, model, network, "resnet18:weights=none,size=64")
    assert found["diagnosis"]["rows"] == 2 and found["note"] == ""


def test_scoring_prints_map_with_and_without_the_d_score(tmp_path, told):
    path = saved(tmp_path / "w.pt", torchvision.models.shufflenet_v2_x0_5(num_classes=10))
    model = "torchvision:name=shufflenet_v2_x0_5,size=64"
    code, out, _ = told("score", path, "--model", model, "--dataset", SMALL_DIGITS,
                        "--d-score", "none")  # fmt: skip
    assert code == 0 and "mAP" in out and "robustness" not in out
    assert "squashed to 64 x 64" in out


def test_weights_with_another_number_of_labels_say_so(tmp_path, told):
    path = saved(tmp_path / "w.pt", torchvision.models.resnet18(num_classes=7))
    code, _, err = told("score", path, "--model", "resnet18", "--dataset", SMALL_DIGITS)
    assert code == 2 and "'fc.weight' must have shape [10, 512], got [7, 512]" in err
