"""Ensembles over parts of VOC 2007's training images, trained as a bench does."""

import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from which_loss import write_parts as write_parts

from labelattack import attacks, defenses
from labelattack.datasets import registry as datasets
from labelattack.defenses.base import Task
from labelattack.labels import PartialLabels
from labelattack.metrics.average_precision import mean_average_precision
from labelattack.models import registry as models
from labelattack.seeding import stream_seed
from labelattack.training.compute import Compute
from labelattack.training.loop import predict
from labelattack.training.protocols import registry as protocols
from labelattack.training.recipe import Recipe
from labelattack.training.training_run import TrainingRun
from labelattack.training.validation import LAST_EPOCH, ValidationLabels

CPU = torch.device("cpu")
MODEL = models.resolve("efficientnet-lite0")
EPOCHS = 10


@cache
def data():
    """The dataset, and features of each split."""
    splits = datasets.create("voc:year=2007").load()
    return splits, protocols.create("linear").prepare(splits, MODEL, Compute())


def attacked(attack, seed):
    """Training labels that an attack leaves."""
    return attacks.create(attack)(data()[0].train.partial, seed=seed)


def run_of(labels, parts, seed, loss="an"):
    """The run of an ensemble, and its protocol."""
    splits, _ = data()
    protocol, model = protocols.create("linear", parts=parts), models.create(MODEL)
    space = protocol.search_space(model)

    def loss_on(rows):
        bound = defenses.create(loss)
        bound.bind(Task(labels=labels, seed=stream_seed(seed, "loss")).take(rows))
        return bound

    val = splits.val
    return protocol, TrainingRun(
        network=protocol.build(
            model, len(splits.classes), seed=stream_seed(seed, "initialisation")
        ),
        loss=loss_on(np.arange(len(labels))), loss_on=loss_on, kind=loss, labels=labels,
        validation=ValidationLabels(val.labels, val.counted, LAST_EPOCH),
        recipe=Recipe(epochs=EPOCHS, lr=space.lrs[0], batch_size=space.batch_sizes[0]), seed=seed,
    )  # fmt: skip


def trained(labels, parts, seed, loss="an"):
    """An ensemble, trained on labels."""
    protocol, run = run_of(labels, parts, seed, loss)
    (fit,) = protocol.train([run], data()[1], CPU)
    run.network.load_state_dict(fit.state)
    return run.network


def test_map(scores):
    """Test mAP in points of scores of the test images."""
    test = data()[0].test
    return 100 * mean_average_precision(scores, test.labels, scored=test.counted)


def test_map_of(network):
    """Test mAP of a network in points."""
    return test_map(predict(network, data()[1].test))


def flipped(labels, rows):
    """Labels with every known label of some images turned round."""
    turned = np.zeros(labels.shape, dtype=bool)
    turned[rows] = True
    values = np.where(turned & labels.observed, ~labels.values, labels.values)
    return PartialLabels(values, labels.observed).named(labels.ids, labels.classes)
