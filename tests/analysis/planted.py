"""A model with parameters by hand that answers two-hop questions in a known way.

Its state has room for the words that may be read out, for those that a head has
carried over from the token before, and for the position. Every block first carries
over and then looks up: where an entity was carried to a relation, it adds the tail of
that fact to the words. So, with two blocks in all (one block looped, or two blocks):

* at r1 the bridge stands after the first block, because h was carried there;
* at r2 the target stands after the second, because the bridge was carried there;
* what is done to r1 before the first block, or to h before the second, is of no
  consequence for the answer.
"""

from collections.abc import Sequence

import numpy as np

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.analysis import questions

SHARP = 60.0  # Attention leaves nothing to other tokens.
GAIN = 5.0  # A tail outweighs the word that stands there.

KEYS = {
    "model.preset": "custom",
    "model.norm_placement": "peri",  # Values and look-ups read the state itself.
    "model.feedforward": "relu",
    "model.num_heads": 1,
    "task.kwargs.num_entities": 11,
    "task.kwargs.num_relations": 5,
    "task.kwargs.out_degree": 3,
    "task.kwargs.ood_share": 0.3,
    "task.kwargs.phi": 1.5,
    "recurrence.eval_loops": (),
}


def make(root, known: Sequence[np.ndarray] | None = None):
    """Returns (params, config, table).

    Args:
      root: the repository.
      known: for each block of a model of one loop, bool [V, V] by head and relation,
        the facts that it knows; None for one block, run twice, that knows them all.
    """
    smoke = configs.load(f"{root}/configs/knowledge_composition.py:smoke")
    table = tasks.make_table(configs.override(smoke, KEYS))
    tails = questions.facts(table)
    size, length = len(table.vocab), table.tokens.shape[1]
    width = 2 * size + length
    facts = np.argwhere(tails >= 0)
    overrides = KEYS | {
        "model.width": width,
        "model.mlp_width": len(facts),
        "model.core_blocks": 1 if known is None else len(known),
        "recurrence.num_loops": 2 if known is None else 1,
    }
    words, place = np.arange(size), 2 * size + np.arange(length)
    embedding = np.zeros((size, width), np.float32)
    embedding[words, words] = 1
    position = np.zeros((length, width), np.float32)
    position[np.arange(length), place] = 1
    params = {
        "prelude": [],
        "core": [
            _block(tails, facts, mask, width, length)
            for mask in ([tails >= 0] if known is None else known)
        ],
        "coda": [],
        "embedding": embedding,
        "position": position,
        "final_norm": _norm(width),
    }
    return params, configs.override(smoke, overrides), table


def ood_facts(table):
    """Returns which facts no two-hop training row uses, bool [V, V]."""
    tails = questions.facts(table)
    rows = table.tokens[(table.split == 0) & (table.tags["hops"] == 2)]
    used = np.zeros(tails.shape, bool)
    used[rows[:, 0], rows[:, 1]] = True
    used[tails[rows[:, 0], rows[:, 1]], rows[:, 2]] = True
    return (tails >= 0) & ~used


def _block(tails, facts, mask, width, length):
    size = len(tails)
    words, carried = np.arange(size), size + np.arange(size)
    place = 2 * size + np.arange(length)
    query_key = np.zeros((width, 2 * width), np.float32)
    for t in range(length):  # Position t asks for t - 1, the first for itself.
        query_key[place[t], max(t - 1, 0)] = SHARP
        query_key[place[t], width + t] = 1
    value = np.zeros((width, width), np.float32)
    value[words, carried] = 1
    look = np.zeros((width, len(facts)), np.float32)
    write = np.zeros((len(facts), width), np.float32)
    for unit, (head, relation) in enumerate(facts):
        if mask[head, relation]:
            look[size + head, unit] = 1
            look[relation, unit] = 1000
            write[unit, tails[head, relation]] = GAIN
    dense = lambda kernel, bias=0.0: {
        "kernel": kernel,
        "bias": np.full(kernel.shape[1], bias, np.float32),
    }
    return {
        "attention_norm": _norm(width),
        "attention": {
            "query_key": dense(query_key),
            "value": dense(value),
            "output": dense(np.eye(width, dtype=np.float32)),
        },
        "mlp": {"input": dense(look, -1000.0), "output": dense(write)},
    }


def _norm(width):
    return {"scale": np.ones(width, np.float32), "bias": np.zeros(width, np.float32)}
