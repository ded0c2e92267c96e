"""Weights as people have them: wrapped, prefixed, damaged, and of other things."""

import argparse
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from labelattack import models
from labelattack.benchmark.execution.context import rebuild
from labelattack.errors import LabelAttackError, ModelError, ParameterError
from labelattack.models.base import load_weights, read_weights
from tests.conftest import SMALL_DIGITS


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 1))


STATE = network().state_dict()


def prefixed(prefix, state=STATE):
    return {prefix + name: value for name, value in state.items()}


def loaded(path, content, **how):
    """A network that took the weights of a file with that content."""
    torch.save(content, path)
    taken = network()
    load_weights(taken, str(path), **how)
    return taken


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "_orig_mod.", "model.", "backbone.", "network.", "net.", "encoder.",
     "module._orig_mod.backbone.", "model.module."],
)  # fmt: skip
@pytest.mark.parametrize("entry", [None, "state_dict", "model", "model_state_dict", "net"])
def test_prefixes_and_entries_are_taken(tmp_path, prefix, entry):
    content = prefixed(prefix)
    whole = content if entry is None else {entry: content, "epoch": 3, "optimizer": {"state": {}}}
    taken = loaded(tmp_path / "w.pt", whole)
    assert all(torch.equal(taken.state_dict()[name], value) for name, value in STATE.items())


def test_an_old_head_is_dropped_under_its_prefix(tmp_path):
    content = {k: v for k, v in STATE.items() if not k.startswith("2.")} | {
        "2.weight": torch.ones(9)
    }
    taken = loaded(tmp_path / "w.pt", prefixed("module.", content), ignore=("2.",))
    assert torch.equal(taken[0].weight, STATE["0.weight"]) and taken[2].weight.shape[0] == 5


def test_what_is_not_used_is_named_in_a_warning(tmp_path):
    content = {**prefixed("backbone."), "head.weight": torch.ones(2), "head.bias": torch.ones(2)}
    with pytest.warns(UserWarning, match=r"not used: head.weight, head.bias"):
        loaded(tmp_path / "w.pt", content)


def test_what_is_too_old_to_count_batches_is_taken(tmp_path):
    loaded(tmp_path / "w.pt", {k: v for k, v in STATE.items() if "num_batches" not in k})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": STATE, "model_ema": STATE}, "must hold one state dict, got model and model_ema"),
        ({"epoch": 3, "lr": 0.1}, "must hold a state dict, got dict of epoch, lr"),
        ([1, 2], "must hold a state dict, got list"),
        ({}, "must hold a state dict, got dict"),
        ({**prefixed("net."), **prefixed("encoder.")}, "in one part, got net. and encoder."),
        (
            {"0.weight": STATE["0.weight"], "a": torch.ones(1), "b": torch.ones(1)},
            "missing 0.bias, 1.weight, 1.bias and 4 more; unexpected a, b",
        ),
        (
            {"model.0.weight": STATE["0.weight"]},
            "missing 0.bias, 1.weight, 1.bias and 4 more; unexpected none",
        ),
        (
            {**STATE, "0.weight": torch.ones(4, 1, 3, 3), "0.bias": torch.ones(2)},
            "'0.weight' must have shape [4, 3, 3, 3], got [4, 1, 3, 3]; 1 more differ",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(tmp_path, content, message):
    with pytest.raises(ModelError, match=re.escape(message)):
        loaded(tmp_path / "w.pt", content)


class Optimizer:
    """A class of somebody's own."""


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (argparse.Namespace(lr=1), "argparse.Namespace"),
        (np.float64(3), "numpy"),
        (nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        ({"state_dict": STATE, "optimizer": Optimizer()}, "tests.test_weights.Optimizer"),
    ],
    ids=["namespace", "numpy", "module", "optimizer"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_more_than_tensors_is_refused_in_our_own_words(tmp_path, content, name, zipped):
    path = tmp_path / "w.pt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError) as said:
        read_weights(path)
    text = str(said.value)
    assert f"it holds {name}" in text and "torch.save(model.state_dict(), FILE)" in text
    assert "weights_only" not in text and said.value.__suppress_context__


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "it is a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", "it is a web page"),
        (b"\x00" * 50, "it is cut short, damaged, or no file of weights"),
    ],
)
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_what_is_no_file_of_weights_is_named(tmp_path, content, message, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_files_that_are_cut_short_are_refused(tmp_path, name):
    path = tmp_path / name
    (save_file if name.endswith("s") else torch.save)(STATE, path)
    whole = path.read_bytes()
    for size in (1, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ModelError, match="it is cut short"):
            read_weights(path)


def test_score_takes_a_prefix_and_names_what_does_not_fit():
    head = {"module.weight": torch.ones(10, 64), "module.bias": torch.ones(10)}
    assert torch.equal(rebuild(SMALL_DIGITS, "tiny", "linear", head).weight, torch.ones(10, 64))
    with pytest.raises(LabelAttackError, match=r"'weight' must have shape \[10, 64\], got \[3\]"):
        rebuild(SMALL_DIGITS, "tiny", "linear", {**head, "module.weight": torch.ones(3)})


# --- torchvision's published weights


@pytest.fixture
def published(monkeypatch):
    """Lets torchvision publish local weights: all ones as version 1, all twos as version 2."""
    import torchvision

    def state(build, value):
        class Weights:
            @staticmethod
            def get_state_dict(**how):
                assert how == {"check_hash": True, "weights_only": True}
                whole = build(weights=None).state_dict()
                return {name: torch.full_like(entry, value) for name, entry in whole.items()}

        return Weights

    for depth, versions in ((18, (1,)), (50, (1, 2))):
        build = getattr(torchvision.models, f"resnet{depth}")
        found = {f"IMAGENET1K_V{version}": state(build, version) for version in versions}
        monkeypatch.setattr(torchvision.models, f"ResNet{depth}_Weights", found)


@pytest.mark.parametrize(
    ("spec", "named", "value"),
    [
        ("resnet50", "imagenet-v1", 1),
        ("resnet50:weights=imagenet", "imagenet-v1", 1),
        ("resnet50:weights=imagenet-v1", "imagenet-v1", 1),
        ("resnet50:weights=imagenet-v2", "imagenet-v2", 2),
        ("resnet18", "imagenet-v1", 1),
    ],
)
def test_published_weights_are_named_by_version(published, spec, named, value):
    assert dict(models.registry.resolve(spec).params)["weights"] == named
    state = models.create(spec).backbone().state_dict()
    assert state and all(bool((entry == value).all()) for entry in state.values())


def test_the_word_without_a_version_is_the_first_from_python_too():
    assert models.registry.get("resnet50")(weights="imagenet").weights == "imagenet-v1"


def test_there_is_no_second_version_of_the_small_one():
    """Refused as a spec, so before anything is loaded or trained."""
    with pytest.raises(ParameterError) as caught:
        models.registry.resolve("resnet18:weights=imagenet-v2")
    assert str(caught.value) == (
        "'weights' of model 'resnet18' must be imagenet-v1, none or a path, as torchvision has no "
        "other, got 'imagenet-v2'"
    )


def test_boards_name_the_version_of_the_weights():
    shown = [models.registry.short(str(models.registry.resolve(f"resnet50{rest}"))) for rest in
             ("", ":weights=imagenet", ":weights=imagenet-v2")]  # fmt: skip
    assert shown == [f"resnet50:weights=imagenet-v{version}" for version in (1, 1, 2)]
