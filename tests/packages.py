"""A package installed for a test: a module and its entry points in a folder."""

import pathlib
import sys

from rdt_jax.tasks import identity, installed

TOY = '''
import numpy as np
from rdt_jax.tasks import base, rows

def toy(*, seed: int, size: int = 12) -> base.Table:
    """Toy: say whether a pair of numbers is equal."""
    a, b = np.divmod(np.arange(size**2, dtype=np.int32), size)
    tokens = np.stack([1 + a, 1 + b, np.full_like(a, 1 + size)], axis=1)
    targets = (2 + size + ((a + b) % 3)).astype(np.int32)[:, None]
    split = np.random.default_rng(seed).integers(0, 2, a.size).astype(np.int8)
    repeats = np.ones(a.size, np.int32)
    words = [str(number) for number in range(size)]
    fields = dict(
        tokens=tokens,
        answer_positions=np.full((a.size, 1), 2, np.int32),
        targets=targets,
        split=split,
        repeats=repeats,
        tags={"first": a, "third": a % 3},
        tag_names={"third": ("none", "one", "two")},
        vocab=("<pad>", *words, "<a>", "zero", "one_", "two_"),
    )
    atoms = np.stack([a, size + b], axis=1)
    certificate = lambda: base.certify(
        tokens, fields["answer_positions"], targets, split, repeats, atoms, "half."
    )
    # BREAK
    return base.Table(**fields, certificate=certificate())

def oracle(table, chosen):
    pairs = [rows.decode(table, row)[0] for row in chosen]
    return [[("zero", "one_", "two_")[(int(a) + int(b)) % 3]] for a, b in pairs]
'''


ENTRY_POINTS = (
    "[rdt_jax.tasks]\ntoy = toys_module:toy\n"
    "[rdt_jax.oracles]\ntoy = toys_module:oracle\n"
)


def install(
    folder: pathlib.Path,
    source: str = TOY,
    entry_points: str = ENTRY_POINTS,
    package: str = "toys",
) -> pathlib.Path:
    """Writes `<package>_module.py` and the metadata of its package into a folder.

    The folder must be on `sys.path`, and `forget` must follow. Returns the module.
    """
    path = folder / f"{package}_module.py"
    path.write_text(source)
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir(exist_ok=True)
    (metadata / "METADATA").write_text(f"Name: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(entry_points)
    forget()
    return path


def forget() -> None:
    """Makes this process look at installed packages anew."""
    installed.entry_points.cache_clear()
    identity.sources.cache_clear()
    for name in [name for name in sys.modules if name.endswith("s_module")]:
        del sys.modules[name]
