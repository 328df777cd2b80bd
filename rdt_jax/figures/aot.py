"""The table of `rdt aot`."""

from rich.table import Table
from rich.text import Text

from rdt_jax import wording
from rdt_jax.figures import terminal
from rdt_jax.figures.cost import short
from rdt_jax.profile.aot import PerChip
from rdt_jax.profile.chips import Chip


def table(found: PerChip, chip: Chip, title: str) -> Table:
    """Builds the table of what one chip does."""
    caption = Text(
        "Per chip and update, compiled and not run. FLOPs by formula, without "
        "recomputation; bytes and collectives of the compiled program, without the "
        "updates that measure norms. At the least: the slowest of products, memory "
        f"and links at their peaks ({short(chip.flops)}FLOP/s, "
        f"{short(chip.bandwidth)}B/s, {short(chip.links)}B/s; {chip.source}). Small "
        "products and short dispatches stay far above it; evaluations come on top."
    )
    kinds = ", ".join(f"{count} {kind}" for kind, count in found.collectives.items())
    share = found.memory_bytes / chip.memory
    rows = (
        ("chips", str(found.chips)),
        ("lanes on all chips", str(found.lanes)),
        ("arguments", f"{short(found.argument_bytes)}B"),
        ("temporary", f"{short(found.temporary_bytes)}B"),
        ("code", f"{short(found.code_bytes)}B"),
        ("share of its memory", f"{share:.1%}"),
        ("FLOPs", short(found.flops)),
        ("bytes moved", f"{short(found.moved_bytes)}B"),
        ("collectives", kinds or "none"),
        ("bytes of collectives", f"{short(found.collective_bytes)}B"),
        ("time at the least", f"{wording.duration(found.seconds)} ({found.bound})"),
        ("budget at the least", wording.duration(3600 * found.hours)),
        ("compiled in", f"{found.compile_seconds:.1f} s"),
    )
    return terminal.table(
        title,
        ("what", "number"),
        rows,
        caption=caption,
        words=("what",),
        title_justify="left",
        show_header=False,
    )
