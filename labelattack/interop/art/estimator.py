"""Multi-label models as estimators of ART's, so that its attacks run on them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from art import config
from art.estimators.pytorch import PyTorchEstimator
from numpy.typing import NDArray
from torch import Tensor, nn

from labelattack.defenses import registry as defenses
from labelattack.defenses.base import PartialLabelLoss, Task
from labelattack.errors import LabelError, ParameterError, shown, unknown
from labelattack.interop.art.gradients import OBJECTIVES, LogitGradients, Objective
from labelattack.labels import Encoding, check_encoding, decode
from labelattack.training.hardware import resolve_device
from labelattack.training.inputs import FeatureInputs
from labelattack.training.loop import epochs
from labelattack.training.recipe import Recipe

Array = NDArray[Any]


class MultiLabelClassifier(LogitGradients):
    """A PyTorch model of several labels an image, as ART's attacks take it.

    ART's own ``PyTorchClassifier`` turns multi-hot targets into the index of one class. This one
    reads them as they are: a label is present where ``y > 0``. So multi-hot labels, and logits as
    [predict][labelattack.interop.art.estimator.MultiLabelClassifier.predict] gives them, which ART
    uses if an attack is given no ``y``, are both targets; rows without labels are legal.

    It is on purpose no ``ClassifierMixin``. By that, ART knows classifiers of one class an image,
    divides targets by their sum and counts an attack a success when the largest output changes. Of
    attacks on outputs as such it asks nothing of the kind: ``FastGradientMethod``,
    ``BasicIterativeMethod``, ``ProjectedGradientDescent`` (without random starts, which ART keeps
    for classifiers), ``SquareAttack`` (given ``adv_criterion`` and ``loss``),
    ``SpatialTransformation``. Others it refuses with ``EstimatorError``.

    Evasion attacks climb ``objective``, whatever the model was trained with, so that all models
    face the same aim: the binary ``cross-entropy`` with the targets, mean over labels, or the
    ``margin``, the mean logit of absent labels minus that of present ones. The margin is the
    stronger attack on rankings, and so on mAP, where a loss shifted or flattened probabilities.

    Args:
        model: Maps float32 ``[batch, *input_shape]`` to logits ``[batch, nb_classes]``; moved to
            the device.
        loss: Spec of a registered defense, or a loss, that ``fit`` trains with.
        input_shape: Shape of one input, such as ``(3, 224, 224)``.
        nb_classes: Number of labels, at least 1.
        optimizer: Of the model's parameters; needed by ``fit`` only.
        channels_first: Whether channels come before height and width.
        clip_values: Least and largest value of an input, to which attacks keep.
        preprocessing_defences: As in ART.
        postprocessing_defences: As in ART; applied to what ``predict`` returns.
        preprocessing: What is subtracted from inputs, and what they are then divided by.
        device_type: ``cpu``; ``gpu``: CUDA or else MPS where there is one, else the CPU; or one of
            torch's devices, such as ``cuda:1``.
        encoding: How ``y`` of ``fit`` writes labels; the default, ``missing``, reads 1 as present,
            0 as absent, -1 as unknown: multi-hot labels, whole or poisoned by
            [LabelRemoval][labelattack.interop.art.poisoning.LabelRemoval].
        objective: What evasion attacks climb, ``cross-entropy`` or ``margin``.

    Raises:
        ParameterError: If a parameter is of the wrong type or out of range; a ``ValueError``, as
            ART's own.
        UnknownNameError: If loss, encoding or objective is unknown; likewise.
    """

    estimator_params: ClassVar[list[str]] = [
        *PyTorchEstimator.estimator_params,
        "loss",
        "input_shape",
        "nb_classes",
        "optimizer",
        "encoding",
        "objective",
    ]

    def __init__(
        self,
        model: nn.Module,
        loss: str | PartialLabelLoss,
        input_shape: tuple[int, ...],
        nb_classes: int,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        channels_first: bool = True,
        clip_values: Any = None,
        preprocessing_defences: Any = None,
        postprocessing_defences: Any = None,
        preprocessing: Any = (0.0, 1.0),
        device_type: str = "gpu",
        encoding: Encoding = "missing",
        objective: Objective = "cross-entropy",
    ) -> None:
        self._loss = loss
        self._input_shape = input_shape
        self._nb_classes = nb_classes
        self._optimizer = optimizer
        self._encoding: Encoding = encoding
        self._objective: Objective = objective
        super().__init__(
            model=model,
            clip_values=clip_values,
            channels_first=channels_first,
            preprocessing_defences=preprocessing_defences,
            postprocessing_defences=postprocessing_defences,
            preprocessing=preprocessing,
            device_type=device_type,
        )
        self._check_params()

    def _check_params(self) -> None:
        super()._check_params()
        if not isinstance(self._model, nn.Module):
            raise ParameterError(f"model must be a torch module, got {type(self._model).__name__}")
        if not isinstance(self._nb_classes, int | np.integer) or self._nb_classes < 1:
            raise ParameterError(
                f"nb_classes must be an integer from 1, got {shown(self._nb_classes)}"
            )
        if not isinstance(self._input_shape, tuple):
            raise ParameterError(f"input_shape must be a tuple, got {shown(self._input_shape)}")
        if isinstance(self._loss, str):
            defenses.resolve(self._loss)
        elif not isinstance(self._loss, PartialLabelLoss):
            raise ParameterError(
                "loss must be a spec such as 'an' or a PartialLabelLoss, got "
                f"{type(self._loss).__name__}; 'bce' is the cross-entropy of complete labels"
            )
        if not isinstance(self._optimizer, torch.optim.Optimizer | None):
            raise ParameterError(
                f"optimizer must be a torch optimizer, got {type(self._optimizer).__name__}"
            )
        check_encoding(self._encoding)
        if self._objective not in OBJECTIVES:
            raise unknown("objective", str(self._objective), OBJECTIVES)
        # ART itself knows of the CPU and of CUDA only.
        self._device = resolve_device("auto" if self._device_type == "gpu" else self._device_type)
        self._model.to(self._device)
        for operation in self.preprocessing_operations:
            if isinstance(getattr(operation, "_device", None), torch.device):
                operation._device = self._device

    @property
    def loss(self) -> str | PartialLabelLoss:
        """Loss that ``fit`` trains with."""
        return self._loss

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self._input_shape

    @property
    def nb_classes(self) -> int:
        """Number of labels."""
        return int(self._nb_classes)

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """Of the model's parameters."""
        return self._optimizer

    @property
    def encoding(self) -> Encoding:
        """Encoding of the labels ``y`` of ``fit``."""
        return self._encoding

    @property
    def objective(self) -> Objective:
        """Objective that evasion attacks raise."""
        return self._objective

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self._device

    @property
    def layer_names(self) -> list[str]:
        """Names of all modules of the model, outer ones first."""
        return [name for name, _ in self._model.named_modules() if name]

    def predict(self, x: Array, batch_size: int = 128, **kwargs: Any) -> NDArray[np.float32]:
        """Logits.

        Args:
            x: Inputs within the clip values, ``[images, *input_shape]``.
            batch_size: Images at a time.
            **kwargs: ``training_mode``, as in ART: whether the model is put into training mode.

        Returns:
            float32 ``[images, nb_classes]``; positive where a label is more likely than not.
        """
        self._mode(kwargs)
        found = []
        with torch.no_grad():
            for part in _parts(x, batch_size):
                logits = self._model(self._prepared(part)).float().cpu().numpy()
                found.append(self._apply_postprocessing(preds=logits, fit=False))
        if not found:
            return np.zeros((0, self.nb_classes), dtype=np.float32)
        return np.concatenate(found).astype(np.float32, copy=False)

    def fit(
        self, x: Array, y: Array, batch_size: int = 128, nb_epochs: int = 20, **kwargs: Any
    ) -> None:
        """Trains the model further, with the loss and the optimizer.

        The model and the optimizer go on from where they are; the loss, which may learn something
        of each image, is bound to these images and starts afresh.

        Args:
            x: Inputs, ``[images, *input_shape]``.
            y: Labels in ``encoding``, ``[images, nb_classes]``.
            batch_size: Images per step; the last step of an epoch may have fewer.
            nb_epochs: Passes over the inputs.
            **kwargs: ``seed`` of shuffling and of the loss, 0 by default; others are ignored.

        Raises:
            ParameterError: If there is no optimizer.
            LabelError: If ``y`` is not in ``encoding`` or of another shape.
            DefenseError: If the loss asks for what a label matrix does not tell, such as the
                expected number of positives; its spec can.
            TrainingDivergedError: If the loss is not finite.
        """
        if self._optimizer is None:
            raise ParameterError("fit needs an optimizer, got none; give one at construction")
        seed = int(kwargs.get("seed", 0))
        inputs, given = self._apply_preprocessing(np.asarray(x, np.float32), np.asarray(y), True)
        labels = decode(given, self._encoding)
        if labels.shape != (len(inputs), self.nb_classes):
            raise LabelError(
                f"y must have shape {(len(inputs), self.nb_classes)}, got {labels.shape}"
            )
        loss = defenses.create(self._loss) if isinstance(self._loss, str) else self._loss
        loss.bind(Task(labels=labels, seed=seed))
        loss.to(self._device)
        recipe = Recipe(epochs=nb_epochs, lr=1, batch_size=batch_size)
        own = list(loss.parameters())
        if own:
            rate = self._optimizer.defaults["lr"] * loss.lr_scale
            self._optimizer.add_param_group({"params": own, "lr": rate})
        try:
            for _ in epochs(
                self._model, loss, self._optimizer, FeatureInputs(inputs, self._device), labels,
                recipe, seed=seed, device=self._device,
            ):  # fmt: skip
                pass
        finally:
            if own:
                self._optimizer.param_groups.pop()
                for parameter in own:
                    self._optimizer.state.pop(parameter, None)

    def get_activations(
        self, x: Array, layer: int | str, batch_size: int = 128, framework: bool = False
    ) -> Any:
        """Output of a module of the model.

        Args:
            x: Inputs, ``[images, *input_shape]``.
            layer: Name of the module, or its place in ``layer_names``.
            batch_size: Images at a time.
            framework: Whether to return a tensor, with its graph.

        Returns:
            float32 ``[images, ...]``.

        Raises:
            ParameterError: If there is no such module.
        """
        names = self.layer_names
        name = names[layer] if isinstance(layer, int) and -1 < layer < len(names) else layer
        if name not in names:
            raise ParameterError(f"layer must be one of {', '.join(names)}, got {shown(layer)}")
        self._model.eval()
        seen: list[Tensor] = []
        module = self._model.get_submodule(str(name))
        hook = module.register_forward_hook(lambda module, given, out: seen.append(out))
        try:
            with torch.set_grad_enabled(framework):
                for part in _parts(x, batch_size):
                    self._model(self._prepared(part, graph=framework))
        finally:
            hook.remove()
        return torch.cat(seen) if framework else torch.cat(seen).float().cpu().numpy()

    def save(self, filename: str, path: str | None = None) -> None:
        """Saves the state of model and optimizer as ART does.

        Args:
            filename: ``.model`` and ``.optimizer`` are appended.
            path: Folder, created if absent; None for ART's own.
        """
        place = Path(path or config.ART_DATA_PATH) / filename
        place.parent.mkdir(parents=True, exist_ok=True)
        torch.save(self._model.state_dict(), f"{place}.model")
        if self._optimizer is not None:
            torch.save(self._optimizer.state_dict(), f"{place}.optimizer")

    def clone_for_refitting(self) -> MultiLabelClassifier:
        """A copy with fresh weights and an optimizer of the same kind.

        Raises:
            ParameterError: If there is no optimizer.
        """
        if self._optimizer is None:
            raise ParameterError("a clone to fit needs an optimizer, got none")
        model = copy.deepcopy(self._model)
        for module in model.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
        params = self.get_params()
        del params["model"]
        params["optimizer"] = type(self._optimizer)(model.parameters(), **self._optimizer.defaults)
        if isinstance(self._loss, PartialLabelLoss):
            params["loss"] = copy.deepcopy(self._loss)
        return type(self)(model, **params)


def _parts(x: Array, size: int) -> list[Array]:
    return [x[start : start + size] for start in range(0, len(x), size)]
