"""Helpers that the tests of the models of timm and of torchvision share."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from labelattack import datasets, models
from labelattack.errors import LabelAttackError
from labelattack.training.inputs import ImageInputs
from tests.conftest import SMALL_DIGITS


def assert_refused(spec, message):
    with pytest.raises(LabelAttackError) as said:
        models.create(spec)
    assert message in str(said.value)


def saved(path, network, prefix=""):
    """Writes a checkpoint in Lightning's layout."""
    state = {prefix + name: value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3, "hyper_parameters": {"lr": 0.1}}, path)
    return path


def scored(told, path, model, network, preprocessing_of):
    """Result of ``labelattack score`` for a checkpoint; its mAP is that of the network itself."""
    code, out, _ = told("score", path, "--model", model, "--dataset", SMALL_DIGITS, "--json",
                        "--d-score", "images=4,resamples=0", "--grid", "0")  # fmt: skip
    assert code == 0
    (found,) = json.loads(out)
    test = datasets.create(SMALL_DIGITS).load().test
    preprocessing = models.create(preprocessing_of).preprocessing
    inputs = ImageInputs(test.images, preprocessing, torch.device("cpu"))
    (batch,) = inputs.stream([np.arange(len(test))])
    with torch.inference_mode():
        logits = network(batch).numpy()
    wanted = np.mean([average_precision_score(test.labels[:, c], logits[:, c]) for c in range(10)])
    assert found["test"]["map"] == pytest.approx(wanted, abs=1e-4)
    return found
