"""`rdt import-ltg`: makes a run folder of a checkpoint of Kohli et al."""

import argparse
import pathlib

from rdt_jax import config as configs
from rdt_jax.cli import exits
from rdt_jax.cli import options as shared


def add(ltg: argparse.ArgumentParser) -> None:
    """Adds the options of `rdt import-ltg`."""
    ltg.add_argument(
        "checkpoint",
        type=pathlib.Path,
        metavar="CHECKPOINT",
        help="a .pt file, or model.safetensors of `rdt export`",
    )
    ltg.add_argument("workdir", type=pathlib.Path, metavar="OUT")
    ltg.add_argument("--num-loops", type=int, required=True, help="R it trained with")
    ltg.add_argument("--num-heads", type=int, required=True, help="H of its attention")
    ltg.add_argument(
        "--injection",
        choices=("none", "add"),
        help="whether it trained with --input_injection (add); needed for a checkpoint "
        "of train_extrapolation.py, whose weights do not tell",
    )
    ltg.add_argument(
        "--step", type=int, default=0, help="optimizer updates it had; default: 0"
    )
    ltg.add_argument(
        "--config",
        default=str(shared.ROOT / "configs" / "ltg_folder.py:paper_code"),
        metavar="FILE.py:PRESET",
        help="all that the checkpoint does not tell; default: that of their code",
    )
    ltg.epilog = (
        "The run stands in OUT under its run id. Its data are found with "
        "--config.task.kwargs.path=FOLDER; without it only the parameters can be used."
    )
    ltg.set_defaults(verb=_import_ltg, takes_overrides=True)


def _import_ltg(options: argparse.Namespace) -> int:
    from rdt_jax.models import import_ltg
    from rdt_jax.training import imported

    with exits.mistakes():
        weights = import_ltg.read(options.checkpoint)
        model = import_ltg.convert(weights, options.num_heads, options.injection)
        config = configs.load(options.config)
        folder = imported.write_run(
            options.workdir,
            config,
            configs.parse_overrides(config, options.overrides),
            model,
            num_loops=options.num_loops,
            step=options.step,
            source=options.checkpoint,
        )
    print(folder)
    return exits.WELL
