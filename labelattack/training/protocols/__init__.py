"""Training protocols: what is trained, and from which inputs. One file each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from labelattack.errors import StoreError
from labelattack.registry.classes import class_access
from labelattack.registry.registry import Registry
from labelattack.registry.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor

    from labelattack.training.protocols.base import TrainingProtocol


PARTS_VERSION = 1
"""Version of the division into parts and of how their networks are put together."""


class _Protocols(Registry["TrainingProtocol"]):
    """Registry of protocols, each of which can be had for several parts of the images."""

    def create(self, spec: str | Spec, /, **params: Any) -> TrainingProtocol:
        """As any registry; with several parts, the protocol that trains one for each."""
        resolved = self.resolve(spec, **params)
        given = dict(resolved.params)
        parts = given.pop("parts", 1)
        inner = super().create(Spec.of(resolved.name, given))
        if parts == 1:
            return inner
        from labelattack.training.protocols.partition_aggregation import PartitionAggregation

        return PartitionAggregation(inner=inner, parts=cast(int, parts))

    def version(self, spec: str | Spec) -> str:
        """As any registry; with several parts, with the version of how these are put together."""
        found = super().version(spec)
        parts = dict(Spec.parse(spec).params).get("parts", 1)
        return found if str(parts) == "1" else f"{found}+parts-{PARTS_VERSION}"


registry: Registry[TrainingProtocol] = _Protocols(
    "protocol", __name__, group="labelattack.protocols"
)
register = registry.register
create = registry.create
__getattr__, __dir__ = class_access(registry)

_SHOWN = 3


def asked_protocol(spec: str) -> str:
    """Protocol that was asked for where a run trains by one that its loss chose; else that itself.

    Args:
        spec: Resolved spec of what a run trains by. A plug-in's that is not loaded is unchanged.
    """
    return registry.text_constant(Spec.parse(spec).name, "board_name") or spec


def protocol_of_state(state: Mapping[str, Tensor]) -> str:
    """Name of the protocol that trained a state dict, for weights that come without a record.

    Args:
        state: Tensors by name.

    Returns:
        A built-in protocol if one owns the weights, else a plug-in's that is loaded.

    Raises:
        StoreError: If no protocol owns them.
    """
    known = sorted(filter(registry.at_hand, registry.names()), key=_plugins_last)
    for name in known:
        if registry.get(name).owns(state):
            return name
    more = f" and {len(state) - _SHOWN} more" if len(state) > _SHOWN else ""
    raise StoreError(
        f"weights must be those that a protocol trains ({', '.join(known)}), got tensors "
        f"{', '.join(list(state)[:_SHOWN]) or 'none'}{more}"
    )


def _plugins_last(name: str) -> tuple[bool, str]:
    return not registry.is_builtin(name), name
