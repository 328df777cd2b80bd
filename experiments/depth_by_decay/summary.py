"""What the runs say about looping, in sentences for who has not read the paper.

All of it is counted from the runs: with other results there are other sentences.
"""

from collections.abc import Sequence

from experiments.depth_by_decay.claims import OOD, compare, models_of
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import grokking
from rdt_jax.analysis.runs import Run, values_of
from rdt_jax.figures import sentences

_WORDS = {2: "two", 3: "three", 4: "four", 8: "eight"}


def summary(runs: Sequence[Run]) -> list[str]:
    """Says who learned to combine facts in new ways, when, and what that means."""
    models = models_of(runs)
    unlooped = (
        ("without looping, the model", models.vanilla),
        ("without looping but with twice the layers, it", models.deep),
    )
    looped = [
        (f"with {_WORDS.get(loops, str(loops))} passes over the same layers, it", own)
        for loops, own in sorted(models.looped.items())
    ]
    said, what = [], _what(runs)
    for group in (unlooped, looped):
        parts = []
        for name, members in group:
            if members:
                parts.append(f"{name} {_did(members, what)}")
                what = " to"  # Said in full of the first model only.
        if parts:
            text = "; ".join(parts)
            said.append(f"{text[0].upper()}{text[1:]}.")
    return [*said, _meaning(runs), *sentences.unknown(runs)]


def _what(runs: Sequence[Run]) -> str:
    levels = grokking.thresholds(runs, OOD)
    level = " or ".join("half" if at == 0.5 else f"{100 * at:.0f} %" for at in levels)
    return (
        f" to answer {level} of the questions that combine facts it had not combined "
        "before"
    )


def _did(members: Sequence[Run], what: str) -> str:
    """Says whether a model learned it, with the numbers in brackets."""
    arrived, total = len(grokking.arrived(members, OOD)), len(members)
    verb, often = "learned", ""
    if not arrived:
        waits = grokking.awaited(members, OOD)
        verb = "has not yet learned" if waits else "never learned"
    elif arrived < total:
        often = " in some runs"
    return f"{verb}{what}{often} ({sentences.reached(members, OOD)})"


def _meaning(runs: Sequence[Run]) -> str:
    """Draws the conclusion that the counts allow, or says which runs it waits for."""
    models = models_of(runs)
    looped = [run for members in models.looped.values() for run in members]
    if not models.vanilla or not looped:
        return "What looping does can be said only of runs with and without it."
    so = "So far" if grokking.awaited(runs, OOD) else "So"
    budgets = " or ".join(f"{steps:,}" for steps in values_of(runs, "num_steps"))
    unlooped = grokking.arrived(models.vanilla, OOD)
    mostly = [loops for loops, members in models.looped.items() if _is_usual(members)]
    if unlooped and mostly:
        text = "the model combines facts in new ways with looping and without it"
    elif unlooped:
        text = "looping was no help: a model without it did better"
    elif mostly:
        text = "it takes looping to combine facts in new ways"
        if models.deep:
            also = grokking.arrived(models.deep, OOD)
            text += (
                ", or more layers" if also else ", and more layers do not replace it"
            )
    elif grokking.arrived(looped, OOD):
        text = f"looping helped, but not in most runs within {budgets} updates"
    else:
        text = f"looping made no difference within {budgets} updates; more may show one"
    pairs = compare(models.looped.get(2, []), models.looped.get(4, []))
    if pairs.sooner or pairs.later:
        side = "sooner" if pairs.sooner > pairs.later else "later"
        number = max(pairs.sooner, pairs.later)
        text += (
            f"; four passes got there {side} than two in {number} of "
            f"{len(pairs.runs)} comparisons"
        )
    return f"{so} {text}."


def _is_usual(members: Sequence[Run]) -> bool:
    arrived, awaited = (f(members, OOD) for f in (grokking.arrived, grokking.awaited))
    others = len(members) - len(arrived) - len(awaited)
    return bool(judging.majority(len(arrived), others, len(awaited)))
