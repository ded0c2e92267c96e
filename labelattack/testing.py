"""Contract checks for plug-ins: what every attack, defense, mutation, dataset and model must do.

Run them on your own class, in a test:

    from labelattack.testing import attack_checks

    @pytest.mark.parametrize("check", attack_checks("my-attack"), ids=str)
    def test_contract(check):
        check()

or on a file, from a shell: ``python -m labelattack.testing my_attack.py``. What must be told where
its files lie is told so after the file: ``... my_dataset.py my-dataset:root=photos``.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from labelattack import attacks, datasets, defenses, models, mutations
from labelattack.attacks.base import LabelAttack
from labelattack.errors import LabelAttackError, ParameterError, PluginError, printable, unknown
from labelattack.labels import BoolArray, PartialLabels
from labelattack.mutations.base import MutationOperator, Stage
from labelattack.registry.plugins import load_plugin
from labelattack.registry.registry import Registry
from labelattack.registry.spec import Spec
from labelattack.terminal import prepare_streams

if TYPE_CHECKING:
    from labelattack.defenses.base import PartialLabelLoss

EXPECTED_POSITIVES = 2.0


@dataclass(frozen=True)
class Check:
    """A named check; calling it raises PluginError where the contract is broken."""

    name: str
    run: Callable[[], None]

    def __call__(self) -> None:
        """Runs the check."""
        try:
            self.run()
        except LabelAttackError as error:
            raise PluginError(f"{self.name}: {error}") from error

    def __str__(self) -> str:
        return self.name


def example_labels() -> BoolArray:
    """Clean labels, bool ``[40, 7]``, with rows that have no, one, several and all positives."""
    labels = np.random.Generator(np.random.PCG64(7)).random((40, 7)) < 0.3
    labels[0], labels[1], labels[2] = False, True, np.arange(7) == 3
    return labels


def attack_checks(spec: str) -> Iterator[Check]:
    """Yields the checks of an attack, each on data of its own.

    Args:
        spec: Name or spec of a registered attack.
    """
    name = Spec.parse(spec).name

    def attack() -> LabelAttack:
        return attacks.create(spec)

    def keeps_final_call() -> None:
        _require(type(attack()).__call__ is LabelAttack.__call__, "must not override __call__")

    def is_deterministic() -> None:
        first, second = attack()(example_labels(), seed=3), attack()(example_labels(), seed=3)
        _require(first == second, "must give the same labels for the same seed")

    def changes_no_label() -> None:
        labels = example_labels()
        left = attack()(labels, seed=0)
        _require(np.array_equal(labels, example_labels()), "must not change its input")
        kept = np.array_equal(left.values[left.observed], labels[left.observed])
        _require(kept, "must not change a surviving label")

    def takes_edge_cases() -> None:
        for shape in ((0, 3), (1, 1), (5, 1), (1, 5)):
            for fill in (False, True):
                attack()(np.full(shape, fill), seed=0)

    def budgets_are_nested() -> None:
        params = dict(Spec.parse(spec).params)
        if "rate" not in signature(attacks.registry.get(name)).parameters:
            return
        smaller = np.zeros_like(example_labels())
        for rate in (0.0, 0.2, 0.5, 0.8, 1.0):
            with_rate = attacks.create(Spec.of(name, {**params, "rate": rate}))
            hidden = with_rate(example_labels(), seed=1).hidden
            _require(not (smaller & ~hidden).any(), f"must remove at rate {rate} what less removes")
            smaller = hidden

    yield from _checks(
        spec,
        _named(
            keeps_final_call,
            is_deterministic,
            changes_no_label,
            takes_edge_cases,
            budgets_are_nested,
        ),
    )
    yield from _spec_checks("attack", spec)


def defense_checks(spec: str) -> Iterator[Check]:
    """Yields the checks of a defense, on the output of every built-in attack.

    Args:
        spec: Name or spec of a registered defense.
    """
    import torch
    from torch import Tensor

    from labelattack.defenses.base import PartialLabelLoss, Task, to_step

    attacked = {
        other: attacks.create(other)(example_labels(), seed=5)
        for other in (
            "none",
            "targeted",
            "targeted:keep_negatives=true",
            "single-positive",
            "random",
            "targeted:rate=1",
        )
    }

    def bound(labels: PartialLabels) -> PartialLabelLoss:
        loss = defenses.create(spec)
        loss.bind(Task(labels=labels, seed=1, expected_positives=EXPECTED_POSITIVES))
        return loss

    def logits(rows: int, labels: int = 7) -> Tensor:
        values = np.random.Generator(np.random.PCG64(1)).normal(0, 3, (rows, labels))
        return torch.tensor(values, dtype=torch.float32, requires_grad=True)

    def keeps_final_forward() -> None:
        kept = defenses.registry.get(Spec.parse(spec).name).forward is PartialLabelLoss.forward
        _require(kept, "must not override forward; implement loss")

    def accepts_every_attack() -> None:
        for labels in attacked.values():
            loss = bound(labels)
            for epoch in (1, 2, 3):
                for rows in (np.arange(16), np.arange(16, 40), np.arange(1)):
                    z = logits(len(rows))
                    step = to_step(labels, torch.from_numpy(rows), epoch=epoch, epochs=3)
                    value = loss(z, step)
                    value.backward()
                    finite = bool(torch.isfinite(value)) and z.grad is not None
                    _require(
                        finite and bool(torch.isfinite(z.grad).all()),  # type: ignore[arg-type]
                        f"loss and gradient must be finite, got {value.item()}",
                    )

    def is_finite_at_extremes() -> None:
        labels = attacked["random"]
        for size in (-80.0, 0.0, 80.0):
            z = torch.full((40, 7), size, requires_grad=True)
            value = bound(labels)(z, to_step(labels, torch.arange(40)))
            value.backward()
            _require(
                bool(torch.isfinite(value)) and bool(torch.isfinite(z.grad).all()),  # type: ignore[arg-type]
                f"must be finite at logits of {size}, got {value.item()}",
            )

    def reads_no_hidden_label() -> None:
        labels = attacked["random"]
        flipped = PartialLabels(labels.values | labels.hidden, labels.observed)
        pair = [
            bound(x)(logits(40), to_step(x, torch.arange(40))).item() for x in (labels, flipped)
        ]
        _require(pair[0] == pair[1], f"must not depend on hidden labels, got {pair}")

    def resumes_from_checkpoint() -> None:
        labels = attacked["targeted"]
        steps = [to_step(labels, torch.arange(40), epoch=e, epochs=3) for e in (1, 2, 3)]
        loss, fresh = bound(labels), bound(labels)
        for step in steps[:2]:
            loss(logits(40), step)
        fresh.load_state_dict(copy.deepcopy(loss.state_dict()))
        pair = [x(logits(40), steps[2]).item() for x in (loss, fresh)]
        _require(pair[0] == pair[1], f"must go on from its state_dict, got {pair}")

    def leaves_inputs_alone() -> None:
        labels = attacked["random"]
        step = to_step(labels, torch.arange(40))
        before = [t.clone() for t in (step.positives, step.negatives, step.index)]
        z = logits(40)
        bound(labels)(z, step)
        same = all(
            torch.equal(a, b)
            for a, b in zip(before, (step.positives, step.negatives, step.index), strict=True)
        )
        _require(same and torch.equal(z, logits(40)), "must not change logits or labels")

    yield from _checks(
        spec,
        _named(
            keeps_final_forward,
            accepts_every_attack,
            is_finite_at_extremes,
            reads_no_hidden_label,
            resumes_from_checkpoint,
            leaves_inputs_alone,
        ),
    )
    yield from _spec_checks("defense", spec)


def dataset_checks(spec: str) -> Iterator[Check]:
    """Yields the checks of a dataset; loads it.

    Args:
        spec: Spec of a registered dataset, small if it can be.
    """

    def loads_the_same_twice() -> None:
        first, second = (datasets.create(spec).load().fingerprint for _ in range(2))
        _require(first == second, "must load the same data twice")

    def splits_are_disjoint() -> None:
        splits = datasets.create(spec).load()
        names = [set(s.ids) for s in (splits.train, splits.val, splits.test)]
        _require(sum(map(len, names)) == len(set.union(*names)), "splits must share no image")

    def images_are_pixels() -> None:
        image = datasets.create(spec).load().train.images[0]
        fits = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        _require(fits, f"images must be uint8 [h, w, 3], got {image.dtype} {image.shape}")

    yield from _checks(spec, _named(loads_the_same_twice, splits_are_disjoint, images_are_pixels))
    yield from _spec_checks("dataset", spec)


def model_checks(spec: str) -> Iterator[Check]:
    """Yields the checks of a model; builds it.

    Args:
        spec: Spec of a registered model.
    """
    import torch

    def maps_images_to_logits() -> None:
        model = models.create(spec)
        network = model.build(5, seed=0).eval()
        side = model.preprocessing.size or 32
        with torch.inference_mode():
            features = network.backbone(torch.zeros(1, 3, side, side))
            shape = network(torch.zeros(2, 3, side, side)).shape
        spatial = features.ndim == 4 and features.shape[1] == model.channels
        _require(
            spatial,
            f"backbone must give [batch, {model.channels}, h, w], got {tuple(features.shape)}",
        )
        _require(shape == (2, 5), f"must give logits [2, 5], got {tuple(shape)}")

    def is_seeded() -> None:
        first, second = (models.create(spec).build(5, seed=1).state_dict() for _ in range(2))
        same = all(torch.equal(first[name], second[name]) for name in first)
        _require(same, "must build the same network from the same seed")

    yield from _checks(spec, _named(maps_images_to_logits, is_seeded))
    yield from _spec_checks("model", spec)


def mutation_checks(spec: str) -> Iterator[Check]:
    """Yields the checks of a mutation operator, on several stages.

    Args:
        spec: Name or spec of a registered operator.
    """
    stages = [Stage(8, 4, 4, 4, 4), Stage(5, 7, 7, 3, 3), Stage(3, 2, 6, 2, 5)]

    def keeps_final_call() -> None:
        operator = type(mutations.create(spec))
        _require(operator.__call__ is MutationOperator.__call__, "must not override __call__")

    def is_deterministic() -> None:
        for stage in stages:
            first, second = (mutations.create(spec)(stage, seed=3) for _ in range(2))
            _require(np.array_equal(first, second), "must give the same mutants for the same seed")

    def reaches_every_cell() -> None:
        for stage in stages:
            masks = mutations.create(spec)(stage)
            full = np.broadcast_to(
                masks.sum(axis=0), (stage.channels, stage.height, stage.width)
            ).sum(axis=0)
            _require(bool((full > 0).all()), "some mutant must lack part of every position")

    yield from _checks(spec, _named(keeps_final_call, is_deterministic, reaches_every_cell))
    yield from _spec_checks("mutation", spec)


def check_plugin(path: str, specs: Sequence[str] = ()) -> list[Check]:
    """Loads a file and returns the checks of every component in it.

    Args:
        path: The file.
        specs: Specs to check components of the file by, such as those of a dataset that must be
            told where it lies; others are checked by their name alone.

    Raises:
        PluginError: If it cannot be loaded or registers nothing.
        UnknownNameError: If a spec names something else.
    """
    kinds: list[tuple[Registry[Any], Callable[[str], Iterator[Check]]]] = [
        (attacks.registry, attack_checks),
        (defenses.registry, defense_checks),
        (datasets.registry, dataset_checks),
        (models.registry, model_checks),
        (mutations.registry, mutation_checks),
    ]
    before = [set(registry.names()) for registry, _ in kinds]
    load_plugin(path)
    wanted = {Spec.parse(spec).name: spec for spec in specs}
    found: dict[str, list[Check]] = {}
    for (registry, checks), known in zip(kinds, before, strict=True):
        for name in sorted(set(registry.names()) - known):
            found.setdefault(name, []).extend(_checks_of(registry, checks, wanted.get(name, name)))
    if not found:
        raise PluginError(
            f"plug-in '{path}' must register an attack, a defense, a dataset, a model or a "
            "mutation, got none"
        )
    for name in wanted:
        if name not in found:
            raise unknown(f"component of '{path}'", name, found)
    return [check for of_one in found.values() for check in of_one]


def _checks_of(
    registry: Registry[Any], checks: Callable[[str], Iterator[Check]], spec: str
) -> list[Check]:
    """The checks of a component, or one that says why it cannot be built."""
    try:
        registry.resolve(spec)
    except LabelAttackError as error:
        reason = f"{error}; give its spec after the file: {Spec.parse(spec).name}:key=value"

        def can_be_built() -> None:
            raise PluginError(reason)

        return list(_checks(spec, _named(can_be_built)))
    return list(checks(spec))


def _named(*checks: Callable[[], None]) -> list[tuple[str, Callable[[], None]]]:
    """Pairs functions with their names in words."""
    return [(check.__name__.replace("_", " "), check) for check in checks]


def _checks(spec: str, named: list[tuple[str, Callable[[], None]]]) -> Iterator[Check]:
    for name, run in named:
        yield Check(f"{spec}: {name}", run)


def _spec_checks(kind: str, spec: str) -> Iterator[Check]:
    kinds = {
        "attack": attacks, "defense": defenses, "dataset": datasets, "model": models,
        "mutation": mutations,
    }  # fmt: skip
    registry = kinds[kind].registry

    def rejects_unknown_parameters() -> None:
        try:
            registry.create(Spec.of(Spec.parse(spec).name, {"no_such_parameter": 1}))
        except ParameterError:
            return
        raise PluginError("must reject a parameter that it does not declare")

    def declares_what_it_takes() -> None:
        name = Spec.parse(spec).name
        cls = registry.get(name)
        (declared,) = (d for d in registry.declarations() if d.name == name)
        taken = {p.name for p in signature(cls).parameters.values()}
        listed = {p.name for p in declared.parameters}
        _require(
            taken == listed,
            f"parameters must be readable from the source: takes {taken}, declares {listed}",
        )

    def resolves_to_itself() -> None:
        resolved = registry.resolve(spec)
        again = registry.resolve(str(resolved))
        _require(again == resolved, f"spec must survive being written: {resolved}, {again}")

    yield from _checks(
        spec, _named(rejects_unknown_parameters, declares_what_it_takes, resolves_to_itself)
    )


def _require(condition: bool, rule: str) -> None:
    if not condition:
        raise PluginError(rule)


def _main(arguments: list[str]) -> int:
    files: dict[str, list[str]] = {}
    for argument in arguments:
        if argument.endswith(".py") or not files:
            files[argument] = []
        else:
            files[next(reversed(files))].append(argument)
    if not files:
        raise PluginError("plug-in must be a Python file, got none; give one, and specs after it")
    broken = 0
    for path, specs in files.items():
        for check in check_plugin(path, specs):
            try:
                check()
                _write(f"ok      {check}")
            except Exception as error:
                broken += 1
                _write(f"BROKEN  {check}: {type(error).__name__}: {error}")
    return 1 if broken else 0


def _write(text: str) -> None:
    sys.stdout.write(f"{printable(text)}\n")


if __name__ == "__main__":
    prepare_streams()
    try:
        sys.exit(_main(sys.argv[1:]))
    except LabelAttackError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
