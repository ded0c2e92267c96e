"""Experiments as TOML files: what to cross, and what a paper reported for it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from labelattack.attacks import registry as attacks
from labelattack.attacks.budget import Budget
from labelattack.attacks.sets import expanded
from labelattack.benchmark.plan.grid import Grid
from labelattack.benchmark.plan.search import Search
from labelattack.datasets import registry as datasets
from labelattack.defenses import registry as defenses
from labelattack.errors import ParameterError, shown, unknown
from labelattack.files.storage import expanded as expanded_path
from labelattack.files.text import read_text
from labelattack.measures.request import MeasureRequest, metric_named, read_request
from labelattack.models import registry as models
from labelattack.registry.parameters import broken_rule
from labelattack.registry.plugins import check_plugins
from labelattack.registry.source import PACKAGE, file_of
from labelattack.registry.spec import Spec
from labelattack.training.protocols import registry as protocols
from labelattack.training.recipe import Reduction, SearchSpace, Selection


def _known(name: str) -> str:
    metric_named(name)
    return name


def _budget(text: str) -> str:
    return str(Budget.parse(text))


MetricName = Annotated[str, AfterValidator(_known)]
_Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
SelectedOn = Literal[Selection, "test", "not stated"]


class Reported(BaseModel):
    """Numbers that a paper printed for one dataset.

    Attributes:
        dataset: Name of the dataset, without parameters.
        measure: What was measured; mAP in points.
        attacks: Spec of each column.
        values: For each defense, a number a column.
        source: Paper, venue, year and table, where an experiment has numbers of several papers.
        selection: Labels on which the paper chose epoch and recipe, where there is a source.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    measure: MetricName = "map"
    attacks: tuple[str, ...]
    values: dict[str, tuple[FiniteFloat, ...]]
    source: str = Field(default="", exclude_if=lambda source: not source)
    selection: SelectedOn | None = Field(default=None, exclude_if=lambda on: on is None)

    @model_validator(mode="after")
    def _whole(self) -> Reported:
        if bool(self.source) != (self.selection is not None):
            alone = "source" if self.source else "selection"
            raise ValueError(f"must have a source and a selection, or neither, got {alone} alone")
        for defense, row in self.values.items():
            if len(row) != len(self.attacks):
                raise ValueError(
                    f"must have {len(self.attacks)} values for '{defense}', one an attack, got "
                    f"{len(row)}"
                )
        return self


class Experiment(Search):
    """Attacks crossed with defenses, recipes and seeds, on one or several datasets.

    Fields of [Search][labelattack.benchmark.plan.search.Search] say what is searched.

    Attributes:
        title: What it is.
        datasets: Specs, each crossed with everything else.
        limit: Most images of each split that are used, for quick tries; None for all.
        model: Spec; None for each dataset's own.
        protocol: Spec of the training protocol.
        attacks: Specs; ``worst-of:set=standard`` stands for the attacks of a set.
        budget: Labels that every attack removes, ``positives=0.4`` or ``entries=0.4``: a share of
            the known positives or entries; None where the rates of the attacks decide.
        defenses: Specs; ``{dataset}`` in one stands for the name of each dataset, as in
            ``em:preset={dataset}``.
        seeds: How many; seeds 0 to N-1.
        epochs: Passes over the training set.
        selection: Whose validation labels choose epoch and recipe; ``last`` takes the last epoch.
        reduction: Whether losses that sum do so, or are divided by the number of entries.
        reference: Whether to add the clean full-label reference.
        d_score: How to measure the D-Score, as ``--d-score`` takes it; ``none`` for none.
        robustness: Specs of measures on perturbed test images: ``evasion``, ``corruption``; a
            short form of ``measures``.
        measures: Specs of further measures of every run, such as ``calibration:bins=10``.
        bootstrap: Resamples of the test images for an interval of each run's mAP; 0 for none.
        micro_batch: Images per forward pass; None for the whole batch.
        plugins: Python files that register components; in a file, relative to that file.
        reported: What papers printed. Tables with sources may say the same of one defense more than
            once; together they give a range.
    """

    title: str = ""
    datasets: Annotated[tuple[str, ...], Field(min_length=1)] = ("digits",)
    limit: _Count | None = Field(default=None, exclude_if=lambda limit: limit is None)
    model: str | None = None
    protocol: str = "finetune"
    attacks: tuple[str, ...] = ("targeted",)
    budget: Annotated[str, AfterValidator(_budget)] | None = Field(
        default=None, exclude_if=lambda budget: budget is None
    )
    defenses: tuple[str, ...] = ("pseudo-history",)
    seeds: Annotated[int, Field(ge=1, le=10_000)] = 3
    epochs: _Count = 10
    selection: Selection = "attacked"
    reduction: Reduction = Field(default="native", exclude_if=lambda name: name == "native")
    reference: bool = True
    d_score: str = "default"
    robustness: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()
    bootstrap: Annotated[int, Field(ge=0, le=100_000)] = 0
    micro_batch: _Count | None = None
    plugins: tuple[str, ...] = Field(default=(), exclude_if=lambda files: not files)
    reported: tuple[Reported, ...] = ()

    @field_validator("reported")
    @classmethod
    def _all_sourced_or_none(cls, reported: tuple[Reported, ...]) -> tuple[Reported, ...]:
        if len({bool(table.source) for table in reported}) > 1:
            without = next(table for table in reported if not table.source)
            raise ValueError(
                f"must have a source for every table or for none, got none for '{without.dataset}'"
            )
        seen = set()
        for table in reported if reported and reported[0].source else ():
            for attack, defense in product(table.attacks, table.values):
                key = table.source, table.dataset, table.measure, attack, defense
                if key in seen:
                    raise ValueError(
                        f"must have one number of a source for '{defense}' on '{table.dataset}', "
                        f"got two of '{table.source}'"
                    )
                seen.add(key)
        return reported

    def request(self) -> MeasureRequest:
        """The measures requested of every run.

        Raises:
            UnknownNameError: If there is no such measure or setting.
            ParameterError: If one is requested twice, or a value breaks its rule.
        """
        specs = (*self.robustness, *self.measures)
        return read_request(specs, d_score=self.d_score, resamples=self.bootstrap)

    def grids(self) -> list[Grid]:
        """A grid for each dataset.

        Raises:
            UnknownNameError: If a dataset is unknown.
        """
        shared = self.model_dump(
            include={
                "limit", "protocol", "attacks", "budget", "epochs", "selection", "reduction",
                "reference", "micro_batch", *Search.model_fields,
            }
        )  # fmt: skip
        found = []
        for dataset in self.datasets:
            name = Spec.parse(dataset).name
            model = self.model or datasets.get(name).default_model
            seeds = tuple(range(self.seeds))
            losses = tuple(spec.replace("{dataset}", name) for spec in self.defenses)
            found.append(Grid(dataset=dataset, model=model, seeds=seeds, defenses=losses, **shared))
        return found

    @model_serializer(mode="wrap")
    def _in_order(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Fields in the order in which people read them."""
        fields = handler(self)
        return {name: fields[name] for name in KEYS if name in fields}


def _in_reading_order() -> tuple[str, ...]:
    """Keys of an experiment: hyper-parameters follow the epochs, though they are inherited."""
    own = [name for name in Experiment.model_fields if name not in Search.model_fields]
    place = own.index("epochs") + 1
    return (*own[:place], *Search.model_fields, *own[place:])


KEYS = _in_reading_order()


def read_experiment(path: Path, scale: str | None = None) -> dict[str, Any]:
    """Reads the keys of an experiment from a TOML file.

    Args:
        path: The file. Its table ``[scale.NAME]`` holds keys that replace others when that scale
            is asked for.
        scale: Name of a scale; None for the experiment as it stands.

    Returns:
        Keys and values, for [experiment][labelattack.benchmark.plan.config.experiment].

    Raises:
        ParameterError: If the file cannot be read or is not TOML.
        PluginError: If a plug-in file that it names is not there.
        UnknownNameError: If it has no such scale.
    """
    try:
        found = tomllib.loads(read_text(path))
    except FileNotFoundError as error:
        raise ParameterError(f"config must be a TOML file, got '{path}', not there") from error
    # Not all that is wrong with a number or with nesting is a TOMLDecodeError.
    except (OSError, ValueError, RecursionError) as error:
        raise ParameterError(f"config '{path}' must be TOML: {error}") from error
    scales = found.pop("scale", {})
    if not isinstance(scales, dict) or not all(isinstance(s, dict) for s in scales.values()):
        raise ParameterError(f"scale of '{path}' must be tables [scale.NAME], got {shown(scales)}")
    if scale is not None:
        if scale not in scales:
            raise unknown(f"scale of '{path}':", scale, scales)
        found |= scales[scale]
    if "plugins" in found:
        found["plugins"] = _plugins(found["plugins"], path)
    return found


def _plugins(named: object, config: Path) -> list[str]:
    """Plug-in files of a config, absolute, as relative ones lie beside it."""
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise ParameterError(f"plugins of '{config}' must be a list of files, got {shown(named)}")
    paths = [str(config.resolve().parent / expanded_path(name)) for name in named]
    check_plugins(paths, named_by=f"plugins of '{config}'")
    return paths


def experiment(values: Mapping[str, Any], *, origin: str = "") -> Experiment:
    """Checks the keys of an experiment.

    Args:
        values: Keys and values.
        origin: The file they are from, for messages.

    Raises:
        UnknownNameError: If a key is unknown.
        ParameterError: If a value breaks its rule.
    """
    where = f"'{origin}': " if origin else ""
    for key in values:
        if key not in Experiment.model_fields:
            raise unknown(f"key of {where or 'an experiment: '}".rstrip(), key, [*KEYS, "scale"])
    try:
        return Experiment.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":  # keys of the experiment itself are known
            table, _, name = key.rpartition(".")
            raise unknown(f"key of {where}{table}:", name, Reported.model_fields) from None
        raise ParameterError(f"{where}{f'{key} ' if key else ''}{broken_rule(first)}") from None


def resolved(given: Experiment) -> Experiment:
    """The same experiment with every default written out and every spec in full.

    The model, and with it the protocol's own recipes, stays open where datasets differ in it. So
    does a defense that names its dataset.

    Raises:
        UnknownNameError: If a component is unknown.
        ParameterError: If a parameter is.
    """
    grids = given.grids()
    first = grids[0]
    same = {grid.model for grid in grids} == {first.model}
    losses = [[str(defenses.resolve(spec)) for spec in grid.defenses] for grid in grids]
    protocol = protocols.create(first.protocol)
    own = protocol.search_space(models.create(first.model)) if same else SearchSpace()
    return given.model_copy(
        update={
            "datasets": tuple(str(datasets.resolve(name)) for name in given.datasets),
            "model": str(models.resolve(first.model)) if same else None,
            "protocol": str(protocols.resolve(first.protocol)),
            "attacks": tuple(str(attacks.resolve(name)) for name in expanded(given.attacks)[0]),
            "defenses": tuple(
                whole[0] if len(set(whole)) == 1 else open_
                for open_, *whole in zip(given.defenses, *losses, strict=True)
            ),
            **given.completed(own),
        }
    )


def to_toml(given: Experiment) -> str:
    """An experiment as the text of a config file."""
    return tomli_w.dumps(given.model_dump(exclude_none=True))


def paper_folder() -> Path:
    """Folder of the paper's tables: in the installed package, or in the checkout."""
    package = file_of(PACKAGE).parent
    installed = package / "paper"
    return installed if installed.is_dir() else package.parent / "benchmarks" / "paper"
