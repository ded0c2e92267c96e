"""Architectures of libraries: built as classifiers, of which a backbone keeps all up to its map."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from pickle import UnpicklingError
from typing import NamedTuple

import torch
from torch import Tensor, nn

from labelattack.errors import ModelError
from labelattack.models.base import Model, Network, pool
from labelattack.models.weights import damage

_SIDE = 32  # of the images on which two networks are compared that take any size
_NEAREST = 3


@dataclass(frozen=True, kw_only=True)
class LibraryModel(Model):
    """An architecture that a library builds as a classifier with a head of its own."""

    @abstractmethod
    def classifier(self, labels: int) -> nn.Module:
        """Builds the classifier as its library does, with random weights.

        Args:
            labels: Outputs of its head; 0 if the head will not be used.
        """

    @abstractmethod
    def load(self, classifier: nn.Module) -> None:
        """Loads the model's weights, if it has any, into all of a classifier but its head.

        Raises:
            ModelError: If they are not available or do not fit.
        """

    @abstractmethod
    def to_map(self, classifier: nn.Module) -> nn.Module:
        """The part of a classifier that maps images to its last map; shares its parameters."""

    def backbone(self) -> nn.Module:
        """All layers up to the last map, with the model's weights."""
        classifier = self.classifier(0)
        self.load(classifier)
        return self.to_map(classifier)

    @property
    def channels(self) -> int:
        """Channels of the last map, found once a process without the weights."""
        return layout(self).channels

    @torch.inference_mode()
    def as_network(self, classifier: nn.Module) -> Network | None:
        """A trained classifier as backbone, pooling and linear head, if that is what it computes.

        Args:
            classifier: As ``classifier`` builds it.

        Returns:
            A network with the same logits; None if the head sees more than the average of the last
            map, such as a class token, or is not linear. Found out on two random images.
        """
        heads = [module for module in classifier.modules() if isinstance(module, nn.Linear)]
        if not heads:
            return None
        seen: list[tuple[Tensor, Tensor]] = []
        handle = heads[-1].register_forward_hook(lambda m, i, o: seen.append((i[0], o)))
        side = self.preprocessing.size or _SIDE
        images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
        try:
            logits = classifier.eval()(images)
        finally:
            handle.remove()
        network = Network(self.to_map(classifier), heads[-1]).eval()
        pooled = pool(network.backbone(images))
        return network if _are(pooled, logits, seen) else None


def _are(pooled: Tensor, logits: Tensor, seen: list[tuple[Tensor, Tensor]]) -> bool:
    """Whether a head was called once, with pooled features, and gave the logits."""
    if len(seen) != 1 or seen[0][0].shape != pooled.shape:
        return False
    taken, given = seen[0]
    tolerance = 1e-4 * float(taken.abs().max())
    return torch.equal(given, logits) and torch.allclose(taken, pooled, rtol=1e-3, atol=tolerance)


class Layout(NamedTuple):
    """The map of a backbone, and its parameters that have no part in it.

    Attributes:
        channels: Channels of the map.
        side: Its height, which is its width.
        unused: Names of parameters of the backbone on which the map does not depend.
    """

    channels: int
    side: int
    unused: tuple[str, ...]


@lru_cache(maxsize=64)
def layout(model: LibraryModel) -> Layout:
    """Layout of a model's backbone, found on one image without numbers.

    Raises:
        ModelError: If the architecture has no map, or does not take images of this size.
    """
    try:
        return _layout(model, "meta")
    except Exception:  # some architectures look at numbers while they are built
        try:
            return _layout(model, "cpu")
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(f"{type(error).__name__}: {error}") from error


def check_layout(model: LibraryModel, architecture: str, native: int) -> None:
    """Checks that an architecture has a map for images of the model's size.

    Args:
        model: The model.
        architecture: The architecture and its library, for the message.
        native: The architecture's own size.

    Raises:
        ModelError: If it has none.
    """
    try:
        layout(model)
    except ModelError as error:
        side = model.preprocessing.size
        hint = "" if side == native else f", such as its own, {native}"
        rule = "be one with a map as last stage" if side == native else "have a size that it takes"
        raise ModelError(f"{architecture} must {rule}{hint}, got size {side}: {error}") from error


def _layout(model: LibraryModel, device: str) -> Layout:
    side = model.preprocessing.size or _SIDE
    # Whoever asks may be extracting features; the gradient tells what the map depends on.
    with torch.inference_mode(False), torch.enable_grad():
        with torch.random.fork_rng(devices=[]), torch.device(device):
            backbone = model.to_map(model.classifier(0)).eval()
            maps = backbone(torch.zeros(1, 3, side, side))
        maps.sum().backward()
    unused = tuple(name for name, p in backbone.named_parameters() if p.grad is None)
    return Layout(maps.shape[1], maps.shape[2], unused)


def as_map(output: Tensor, *, prefix: int | None = None, channels_last: bool = False) -> Tensor:
    """Output of an architecture's last stage as a map.

    Args:
        output: ``[batch, channels, h, w]``, ``[batch, h, w, channels]``, or tokens ``[batch,
            tokens, channels]``, whose patches are a square, row by row.
        prefix: Tokens before those of the patches, which are dropped; None for the class token, if
            the others are a square and all together are not.
        channels_last: Whether channels come last in an output of four dimensions.

    Returns:
        ``[batch, channels, h, w]``.

    Raises:
        ModelError: If it is none of these.
    """
    if not isinstance(output, Tensor):
        raise ModelError(f"its last stage must give one map, got a {type(output).__name__}")
    if output.ndim == 4:
        return output.permute(0, 3, 1, 2) if channels_last else output
    if output.ndim == 3:
        count = output.shape[1]
        if prefix is None:
            prefix = 0 if _is_square(count) else 1
        if count - prefix > 1 and _is_square(count - prefix):
            side = math.isqrt(count - prefix)
            patches = output[:, prefix:].transpose(1, 2)
            return patches.reshape(*patches.shape[:2], side, side)
    raise ModelError(
        "its last stage must give a map [batch, channels, h, w], or tokens of a square of patches, "
        f"got {list(output.shape)}"
    )


def _is_square(count: int) -> bool:
    return math.isqrt(count) ** 2 == count


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message on a name that is unknown: those that are most like it.

    Names of architectures are long; whoever errs in their beginning is helped too.
    """

    def likeness(other: str) -> float:
        texts = (other, other[: len(name) + 1])
        return max(SequenceMatcher(None, text, name, autojunk=False).ratio() for text in texts)

    near = sorted(known, key=likeness, reverse=True)[:_NEAREST]
    return f"got '{name}'" + (f"; nearest: {', '.join(near)}" if near else "")


def unavailable(what: str, error: Exception) -> ModelError:
    """The error for published weights that cannot be had.

    Args:
        what: Which weights.
        error: The reason.
    """
    unread = isinstance(error, UnpicklingError)
    reason = damage(error) if unread else f"{type(error).__name__}: {error}"
    return ModelError(
        f"{what} cannot be had: {reason}; give weights=PATH of a state dict, or weights=none"
    )
