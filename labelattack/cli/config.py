"""The config command."""

from __future__ import annotations

import typer

from labelattack.cli._console import AsJson, Plugins, load_plugins, print_json
from labelattack.cli._options import Config, Crossing, Scale, Training, expanded
from labelattack.cli.bench import experiment_of


@expanded
def config(
    crossing: Crossing,
    training: Training,
    config: Config = None,
    scale: Scale = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Prints what bench would run with these options, every default filled in, as a config.

    What it prints is itself a config: save it, and name the file to bench --config.

    For example: `labelattack config --defense wan --seeds 5 > grid.toml`
    """
    from labelattack.benchmark.plan.config import resolved, to_toml

    load_plugins(plugin)
    found = resolved(experiment_of(config, scale, crossing, training))
    if as_json:
        print_json(found.model_dump_json(indent=1))
    else:
        typer.echo(to_toml(found), nl=False)
