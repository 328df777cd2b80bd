"""`rdt cost`, `rdt models` and `rdt recipes`: costs of a run; models and recipes."""

import argparse

from rdt_jax.cli import exits
from rdt_jax.cli import options as shared
from rdt_jax.training import recipes


def add_cost(cost: argparse.ArgumentParser) -> None:
    """Adds the options of `rdt cost`."""
    cost.epilog = shared.ANY_KEY
    shared.add_config(cost)
    cost.add_argument(
        "--loops", metavar="R,R,..", help="loop counts, besides that of the config"
    )
    cost.set_defaults(verb=_cost, takes_overrides=True)


def add_models(models: argparse.ArgumentParser) -> None:
    """Adds the options of `rdt models`."""
    models.set_defaults(verb=_models)


def add_recipes(recipes: argparse.ArgumentParser) -> None:
    """Adds the options of `rdt recipes`."""
    recipes.set_defaults(verb=_recipes)


def _cost(options: argparse.Namespace) -> int:
    import jax

    from rdt_jax.figures import cost
    from rdt_jax.profile import estimate
    from rdt_jax.training import validation

    jax.config.update("jax_platforms", "cpu")  # It only traces.
    with exits.mistakes():
        config = shared.config(options)
        counts = _loop_counts(options.loops)
        if config.recurrence.sampling == "fixed":  # The table begins with it.
            counts = [n for n in counts if n != config.recurrence.num_loops]
        for count in counts:
            validation.check(estimate.fixed_loops(config, count))
    for table in cost.tables(estimate.estimate(config, counts)):
        shared.print_table(table)
    return exits.WELL


def _loop_counts(text: str | None) -> list[int]:
    """Reads loop counts such as 1,2,4; ValueError if they are none."""
    parts = [] if text is None else text.split(",")
    if not all(part.isdecimal() and int(part) >= 1 for part in parts):
        raise ValueError(
            f"--loops must be ints of at least 1 such as 1,2,4, got {text!r}."
        )
    return list(dict.fromkeys(int(part) for part in parts))


def _models(_: argparse.Namespace) -> int:
    from rdt_jax.models import presets

    for name, preset in presets.PRESETS.items():
        print(f"{name}: {preset.summary}\n  {preset.source}")
        for key, values in preset.keys.items():
            print(f"  model.{key} = {' or '.join(str(v).lower() for v in values)}")
    print("components:")
    for key, values in presets.COMPONENTS.items():
        print(f"  model.{key}: {', '.join(values)}")
    return exits.WELL


def _recipes(_: argparse.Namespace) -> int:
    for name, recipe in recipes.RECIPES.items():
        keys = " ".join(
            f"{key}={str(value).lower()}" for key, value in recipe.overrides.items()
        )
        print(f"{name}: {keys}: {recipe.summary} ({recipe.source})")
    return exits.WELL
