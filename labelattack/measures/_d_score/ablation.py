"""Logits under ablation: patches deleted, and regions shown alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from labelattack.measures._d_score.stage import mutated, watched
from labelattack.measures._d_score.translation import shift
from labelattack.mutations import registry as mutations
from labelattack.mutations.base import Mask, Stage, cell_masks

if TYPE_CHECKING:
    from labelattack.measures.d_score import DScoreSettings

Floats = NDArray[np.float32]
_UNITS = 1 << 25  # of a stage's output held at once: 128 MB of float32


class PatchFeatures(NamedTuple):
    """Contributions of patches to pooled features; float32 ``[images, patches, features]``.

    Attributes:
        placed: Each cell's share of an image's pooled features; they sum to the whole.
        shown: Each measured region's share, shown alone at one place; None if not measured.
    """

    placed: Floats
    shown: Floats | None


def regions(stage: Stage, step: int) -> list[tuple[int, int]]:
    """Rows and columns of the regions that are measured."""
    return [(r, c) for r in range(0, stage.rows, step) for c in range(0, stage.columns, step)]


def shown_alone(images: Tensor, stage: Stage, settings: DScoreSettings) -> Iterable[Tensor]:
    """The images shifted so that each measured region arrives at the centre, region by region."""
    cell = images.shape[2] / stage.rows, images.shape[3] / stage.columns

    def centre(row: int, column: int) -> tuple[float, float]:
        return (row + 0.5) * cell[0], (column + 0.5) * cell[1]

    target = centre(*divmod(central_cell(stage), stage.columns))
    for region in regions(stage, settings.step):
        yield shift(images, centre(*region), target, border=settings.border, zoom=settings.zoom)


def central_cell(stage: Stage) -> int:
    """Number of the central cell; below and right of the middle where the grid is even."""
    return (stage.rows // 2) * stage.columns + stage.columns // 2


def patch_sums(maps: Tensor, masks: Tensor) -> Tensor:
    """Each cell's share of globally pooled features.

    Args:
        maps: ``[batch, channels, height, width]``.
        masks: ``[cells, height, width]``.

    Returns:
        ``[batch, cells, channels]``.
    """
    flat = masks.flatten(1) / masks[0].numel()
    return torch.einsum("bcp,gp->bgc", maps.flatten(2).float(), flat)


@dataclass(frozen=True)
class PatchReadout:
    """Shares of the pooled features: one pass, and one for each shifted region.

    They serve every linear head on one frozen backbone.
    """

    stage: Stage
    settings: DScoreSettings

    def describe(self) -> dict[str, Any]:
        """The grid and how regions are shown."""
        shown = {"features", "border", "step", "zoom"}
        return {
            "readout": "cell",
            "stage": list(self.stage),
            **self.settings.model_dump(include=shown),
        }

    def __call__(self, backbone: nn.Module, batch: Tensor) -> dict[str, Tensor]:
        """``placed`` and, when shifting, ``shown``."""
        masks = torch.from_numpy(cell_masks(self.stage)).to(batch.device)
        found = {"placed": patch_sums(backbone(batch), masks)}
        if self.settings.features == "shifting":
            alone = masks[[central_cell(self.stage)]]
            shifted = shown_alone(batch, self.stage, self.settings)
            found["shown"] = torch.cat([patch_sums(backbone(i), alone) for i in shifted], 1)
        return found


def delete_by_algebra(maps: Tensor, head: nn.Linear, deleted: Tensor) -> Tensor:
    """Logits that a linear head on globally pooled features loses to each mutant.

    Logits are sums of class activation maps, so a mutant that lacks the same share of every channel
    takes a weighted sum of those maps away.

    Args:
        maps: ``[batch, channels, height, width]``.
        head: Channels to labels.
        deleted: ``[mutants, 1, height, width]``.

    Returns:
        ``[mutants, batch, labels]``.
    """
    activation = torch.einsum("bcp,lc->blp", maps.flatten(2), head.weight) / maps[0, 0].numel()
    lost: Tensor = torch.einsum(
        "mp,blp->mbl", deleted[:, 0].expand(-1, *maps.shape[2:]).flatten(1), activation
    )
    return lost


@torch.inference_mode()
def without_patches(
    network: nn.Module,
    stage_name: str,
    images: Tensor,
    stage: Stage,
    deleted: Mask,
    head: nn.Linear | None = None,
) -> tuple[Tensor, Tensor]:
    """Logits of a batch, whole and without each cell.

    What a mutant loses is charged to cells by where the activity was that it lacks. For
    ``delete-cell`` that is the cell itself; for ``delete-channel`` it is Ablation-CAM's weighting.

    Args:
        network: In evaluation mode.
        stage_name: Name of the last spatial stage.
        images: ``[batch, channels, height, width]``.
        stage: Its map and grid.
        deleted: The mutants, from an operator.
        head: The network's head if it is linear on the globally pooled stage; deletion is then a
            matrix product instead of passes.

    Returns:
        ``[batch, labels]``, and ``[cells, batch, labels]``.
    """
    device = images.device
    masks = torch.from_numpy(cell_masks(stage)).to(device)
    seen: list[Tensor] = []
    with watched(network, stage_name, seen):
        whole = network(images)
    (maps,) = seen
    missing = torch.from_numpy(deleted).to(device)
    if head is not None and missing.shape[1] == 1:
        lost = delete_by_algebra(maps, head, missing)
    else:
        chunk = max(1, _UNITS // maps.numel())
        found = []
        for some in torch.split(missing, chunk):
            with mutated(network, stage_name, 1 - some):
                found.append(whole - network(images).unflatten(0, (len(some), len(images))))
        lost = torch.cat(found)
    if missing.shape == (stage.cells, 1, stage.height, stage.width) and torch.equal(
        missing[:, 0], masks
    ):
        return whole, whole - lost
    return whole, whole - _charged(maps, missing, lost, masks)


def _charged(maps: Tensor, missing: Tensor, lost: Tensor, masks: Tensor) -> Tensor:
    """Logits that mutants lose, charged to cells: ``[cells, batch, labels]``."""
    activity = maps.abs()
    charged = torch.zeros(len(masks), *lost.shape[1:], device=lost.device)
    for mutant, loss in zip(missing, lost, strict=True):
        # Activity that this mutant lacks, by cell: [batch, cells].
        lacking = torch.einsum("bhw,ghw->bg", (activity * mutant).sum(1), masks)
        share = lacking / lacking.sum(1, keepdim=True).clamp_min(1e-12)
        charged += share.T[:, :, None] * loss
    times = float(missing.mean()) * len(missing)  # how often a unit is deleted on average
    return charged / times


@torch.inference_mode()
def regions_alone(
    network: nn.Module, stage_name: str, images: Tensor, stage: Stage, settings: DScoreSettings
) -> Tensor:
    """Logits of each measured region shown alone at the centre, ``[regions, batch, labels]``."""
    keep = torch.from_numpy(cell_masks(stage)[[central_cell(stage)]][:, None]).to(images.device)
    with mutated(network, stage_name, keep):
        return torch.stack([network(i) for i in shown_alone(images, stage, settings)])


def mutants(stage: Stage, settings: DScoreSettings) -> Mask:
    """The mutants that the settings ask for."""
    return mutations.create(settings.operator)(stage, seed=settings.seed)
