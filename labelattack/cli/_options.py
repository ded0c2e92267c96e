"""Options that commands share, each named after the key of an experiment that it overrides."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from labelattack.cli._completion import metric_names, names_of
from labelattack.cli._console import AsJson, Device, DScoreOption, Jobs, Plugins, one_of, validated

if TYPE_CHECKING:
    from labelattack.benchmark.gate.check import Limits

Selection = Literal["attacked", "clean", "last"]
Reduction = Literal["native", "mean"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """On what to train, and how."""

    datasets: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset",
            help="Dataset, e.g. voc:year=2007; repeatable.",
            autocompletion=names_of("datasets"),
        ),
    ] = None
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=1,
            help="Images of each split to use, evenly spaced, for a quick try; results stand apart "
            "from those on all images.",
        ),
    ] = None
    model: Annotated[
        str | None, typer.Option("--model", help="Model.", autocompletion=names_of("models"))
    ] = None
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            help="Protocol, e.g. linear: a head on frozen features.",
            autocompletion=names_of("protocols"),
        ),
    ] = None
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="Runs of each pair, seeds 0 to N-1.")
    ] = None
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Passes over the training set.")
    ] = None
    lrs: Annotated[
        list[float] | None, typer.Option("--lr", help="Learning rate; several are searched.")
    ] = None
    batch_sizes: Annotated[
        list[int] | None, typer.Option("--batch-size", help="Batch size; several are searched.")
    ] = None
    weight_decays: Annotated[
        list[float] | None,
        typer.Option("--weight-decay", help="Weight decay of Adam; several are searched."),
    ] = None
    selection: Annotated[
        Selection | None,
        typer.Option(
            "--selection",
            help="Validation labels that choose epoch and recipe; clean is privileged, last takes "
            "the last epoch and needs a single recipe.",
            **one_of("selection", Selection),
        ),
    ] = None
    search: Annotated[
        list[str] | None,
        typer.Option(
            "--search",
            metavar="DEFENSE.PARAMETER=VALUE,...",
            help="Values of a loss's own parameter to search, e.g. large-loss.delta=0.002,0.004; "
            "repeatable. Every defense gets the same number of trials.",
        ),
    ] = None
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials",
            min=1,
            help="Trials of each defense; by default as many as the one with the fewest has.",
        ),
    ] = None
    reduction: Annotated[
        Reduction | None,
        typer.Option(
            "--reduction",
            help="native: losses sum or average as their authors have it; mean: all average.",
            **one_of("reduction", Reduction),
        ),
    ] = None
    micro_batch: Annotated[
        int | None,
        typer.Option(
            "--micro-batch",
            min=1,
            help="Images per forward pass, to save memory; batch normalisation sees these alone.",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """Attacks and defenses to cross, and measures to take."""

    attacks: Annotated[
        list[str] | None,
        typer.Option(
            "--attack",
            help="Attack, e.g. targeted:rate=0.4; repeatable.",
            autocompletion=names_of("attacks", more=("worst-of",)),
        ),
    ] = None
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="positives=SHARE|entries=SHARE",
            help="Labels that every attack removes, whatever its rate: a share of the known "
            "positives, or of all known entries.",
        ),
    ] = None
    defenses: Annotated[
        list[str] | None,
        typer.Option(
            "--defense",
            help="Defense, e.g. wan:weight=0.1; repeatable.",
            autocompletion=names_of("defenses"),
        ),
    ] = None
    reference: Annotated[
        bool | None,
        typer.Option(
            "--reference/--no-reference", help="Add the reference that sees every known label."
        ),
    ] = None
    d_score: DScoreOption = None
    robustness: Annotated[
        list[str] | None,
        typer.Option(
            "--robustness",
            metavar="evasion,corruption",
            help="Also change pixels of test images: evasion (PGD), e.g. evasion:eps=4/255,"
            "steps=20,norm=linf; corruption (noise, blur, ...), e.g. corruption:images=500.",
        ),
    ] = None
    measures: Annotated[
        list[str] | None,
        typer.Option(
            "--measures",
            metavar="NAME:key=value,...",
            autocompletion=names_of("measures"),
            help="Further measures of every run, e.g. evasion or d-score:grid=4; repeatable. "
            "`labelattack list measures` has them.",
        ),
    ] = None
    bootstrap: Annotated[
        int | None,
        typer.Option(
            "--bootstrap",
            min=0,
            help="Resamples of the test images, for an interval of each single run.",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Options of execution, which never change a number."""

    device: Device = "auto"
    jobs: Jobs = None
    executor: Annotated[
        str,
        typer.Option(
            metavar="local|ray|slurm",
            autocompletion=names_of("executors"),
            help="Where runs happen, e.g. ray:address=HOST:6379,gpus=0.25 or slurm:partition=gpu.",
        ),
    ] = "local"
    out: Annotated[
        Path, typer.Option("--out", help="Store of results; several processes may share one.")
    ] = Path("results")
    tracker: Annotated[
        list[str] | None,
        typer.Option(
            help="Mirror of the runs, tensorboard:folder=runs or mlflow; repeatable.",
            autocompletion=names_of("trackers"),
        ),
    ] = None
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run failed cells again.")
    ] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run, and stop.")] = (
        False
    )
    plugin: Plugins = None
    as_json: AsJson = False


@dataclass(frozen=True, kw_only=True)
class Comparing:
    """Options of a comparison of scores, and of what counts as worse."""

    measure: Annotated[
        list[str] | None,
        typer.Option(
            help="Metric: map (default), robustness, fitness, d_score, evasion, corruption, or "
            "another one of `labelattack list measures`; repeatable.",
            autocompletion=metric_names,
        ),
    ] = None
    alpha: Annotated[
        float, typer.Option(help="Chance of an alarm by noise alone, over all comparisons.")
    ] = 0.05
    tolerance: Annotated[
        float, typer.Option(help="Largest tolerated drop in points, significant or not.")
    ] = 0.5
    same_versions: Annotated[
        bool, typer.Option("--same-versions", help="Refuse another version of attack or defense.")
    ] = False

    def limits(self) -> Limits:
        """The limits of the gate that these options set.

        Raises:
            UnknownNameError: If a metric is unknown.
            ParameterError: If a value breaks its rule.
        """
        from labelattack.benchmark.gate.check import Limits
        from labelattack.measures.request import metric_named

        for name in self.measure or ():
            metric_named(name)
        found: Limits = validated(
            Limits,
            alpha=self.alpha,
            tolerance=self.tolerance,
            measures=tuple(dict.fromkeys(self.measure or ["map"])),
            same_versions=self.same_versions,
        )
        return found


Results = Annotated[Path, typer.Argument(help="Store written by bench.")]
Mix = Annotated[
    list[str] | None,
    typer.Option(
        "--mix",
        help="Put into one board what differs in dataset, model, protocol, selection or versions; "
        "repeatable.",
    ),
]
Config = Annotated[
    Path | None, typer.Option(metavar="FILE.toml", help="Experiment; options override it.")
]
Scale = Annotated[
    str | None, typer.Option("--scale", help="Of the config, the [scale.NAME] to apply.")
]


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """Lets a command take a dataclass of options as if it listed each of its fields."""
    hints = get_type_hints(command, include_extras=True)
    shared: dict[str, Any] = {name: cls for name, cls in hints.items() if is_dataclass(cls)}
    listed: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name in shared:
            cls = shared[parameter.name]
            types = get_type_hints(cls, include_extras=True)
            listed += [_option(f.name, f.default, types[f.name]) for f in fields(cls)]
        else:
            listed.append(_option(parameter.name, parameter.default, hints[parameter.name]))

    @functools.wraps(command)
    def run(**given: Any) -> None:
        for name, cls in shared.items():
            given[name] = cls(**{f.name: given.pop(f.name) for f in fields(cls)})
        command(**given)

    run.__signature__ = inspect.Signature(listed)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in listed}
    return run


def _option(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)
