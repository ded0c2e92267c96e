"""Contract of a training protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from labelattack.datasets.base import Splits
from labelattack.errors import ParameterError
from labelattack.models.base import Model
from labelattack.models.weights import fit as fit_weights
from labelattack.registry.spec import Spec
from labelattack.training.compute import Compute
from labelattack.training.inputs import Inputs, SomeInputs
from labelattack.training.isolation import attempt
from labelattack.training.loop import Fit, fit
from labelattack.training.recipe import Recipe, SearchSpace
from labelattack.training.training_run import TrainingRun


@dataclass(frozen=True)
class Prepared:
    """Inputs of what a protocol trains, of each split."""

    train: Inputs
    val: Inputs
    test: Inputs


@dataclass(frozen=True, kw_only=True)
class TrainingProtocol(ABC):
    """A way of training: which part of a model learns, and from which inputs.

    Subclass it as a frozen dataclass whose fields are the protocol's parameters, and register it.
    By default each run is trained alone, by gradient descent on what
    [build][labelattack.training.protocols.base.TrainingProtocol.build] makes.

    Attributes:
        version: Raise it whenever what it trains changes; results of two versions never mix.
        source: Where the protocol comes from.
        references: What to cite: keys of ``references.bib`` with spaces between, or BibTeX entries.
        uses_micro_batches: Whether a batch may pass in several parts, to save memory.
        reads_images: Whether training reads image files, so that they must stay as they are.
        on_features: Whether it trains a linear head on the pooled features of the frozen backbone,
            so that a measure may use cached features.
        data_parallel: Whether several processes that ``torchrun`` started may train one network.
        has_one_backbone: Whether there is one last spatial stage in what it trains.
        validates: Whether validation labels may choose the epoch; else the last one is taken.
        board_name: Protocol on whose boards its runs stand, where a loss chooses this one in its
            place; empty for its own.

    Args:
        parts: Parts into which the training images are divided, with a network for each and the
            median of their scores, for measure ``certified``. 1: one network, trained on all.
    """

    version: ClassVar[int] = 1
    source: ClassVar[str] = ""
    references: ClassVar[str] = ""
    uses_micro_batches: ClassVar[bool] = False
    reads_images: ClassVar[bool] = True
    on_features: ClassVar[bool] = False
    data_parallel: ClassVar[bool] = False
    has_one_backbone: ClassVar[bool] = True
    validates: ClassVar[bool] = True
    board_name: ClassVar[str] = ""

    # Left out of specs at its default: keys of cells from before there were parts stay as they are.
    parts: Annotated[int, Field(ge=1, le=1_000_000, exclude_if=lambda parts: parts == 1)] = 1

    def __post_init__(self) -> None:
        """Fails if there are several parts: what trains these is made by ``create`` alone.

        Raises:
            ParameterError: If there are.
        """
        if self.parts != 1:
            raise ParameterError(
                f"parts of {type(self).__name__} must be 1 where its class is called, got "
                f"{self.parts}; labelattack.training.protocols.create makes what trains several"
            )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Leaves out ``boosted`` of a base class, which trains something else."""
        super().__init_subclass__(**kwargs)
        if "boosted" not in vars(cls):
            cls.boosted = TrainingProtocol.boosted  # type: ignore[method-assign]

    @abstractmethod
    def search_space(self, model: Model) -> SearchSpace:
        """Learning rates and batch sizes searched by default, the same for every defense."""

    def part_search_space(self, model: Model) -> SearchSpace:
        """One learning rate and batch size for networks that see a part of the images each.

        By default the largest rate of the search space and its last batch size: nothing may be
        chosen among several, and each network makes few steps.
        """
        space = self.search_space(model)
        return SearchSpace(lrs=(max(space.lrs),), batch_sizes=space.batch_sizes[-1:])

    @abstractmethod
    def prepare(self, splits: Splits, model: Spec, compute: Compute) -> Prepared:
        """Makes the inputs of training, validation and test.

        Args:
            splits: The dataset.
            model: Resolved spec of the model.
            compute: Where to compute.

        Raises:
            DatasetError: If an image of any split cannot be read.
            ModelError: If the model cannot be built.
        """

    @abstractmethod
    def build(self, model: Model, labels: int, *, seed: int) -> nn.Module:
        """Builds what is trained, seeded; maps a batch of prepared inputs to logits."""

    @abstractmethod
    def whole(self, model: Model, trained: nn.Module) -> nn.Module:
        """The whole network, images to logits, around what was trained."""

    @classmethod
    @abstractmethod
    def owns(cls, state: Mapping[str, Tensor]) -> bool:
        """Whether a state dict has the entries of what this protocol trains."""

    def boosted(self, scale: float) -> Spec:
        """Protocol that trains the same with positive class activations multiplied by a factor.

        A subclass does not inherit it.

        Args:
            scale: The factor, not 1.

        Raises:
            ParameterError: If the protocol does not offer it.
        """
        raise ParameterError(
            f"protocol {type(self).__name__} must expose the map of the backbone for a loss that "
            f"multiplies class activations (here by {scale}), but does not; use finetune or linear"
        )

    def group_key(self, recipe: Recipe) -> Hashable | None:
        """Key that runs on one dataset and model must share to train together; None: alone."""
        return None

    def runs_at_once(
        self, images: int, labels: int, channels: int, *, device: torch.device, processes: int
    ) -> int:
        """Number of runs of one key to train together.

        Args:
            images: Training images.
            labels: Labels of each.
            channels: Channels of the backbone's output.
            device: Where to compute.
            processes: How many share the device's cache and memory.
        """
        return 1

    def train(
        self, runs: Sequence[TrainingRun], prepared: Prepared, device: torch.device
    ) -> list[Fit | Exception]:
        """Trains the runs of one group.

        Args:
            runs: Runs of one dataset, model and group key.
            prepared: Their inputs.
            device: Where to compute.

        Returns:
            For each run, its fit, or why it failed. One failure leaves the others alone.
        """

        def alone(run: TrainingRun) -> Fit:
            return fit(
                run.network,
                run.loss,
                prepared.train if run.rows is None else SomeInputs(prepared.train, run.rows),
                prepared.val,
                run.labels,
                run.recipe,
                seed=run.seed,
                device=device,
                validate=None if run.validation is None else run.validate,
                last=run.takes_last,
            )

        return [attempt(alone, run) for run in runs]

    def rebuild(
        self,
        model: Model,
        labels: int,
        state: Mapping[str, Tensor],
        *,
        rule: str = "weights must fit the model",
    ) -> nn.Module:
        """Trained network or head, rebuilt from its weights.

        Args:
            model: The model.
            labels: How many labels it predicts.
            state: Weights as a run left them.
            rule: What a message on them begins with.

        Raises:
            ModelError: If they do not fit.
        """
        network = self.build(model, labels, seed=0)
        fit_weights(network, state, rule)
        return network
