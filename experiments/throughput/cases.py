"""What `rdt bench` measures, and what must come out.

    rdt bench --torch-python=PYTHON --out=bench.json

Sizes are those of Kohli et al. (2026), arXiv:2604.07822, Sections 5 and 6. Their
vocabularies have six words that ours lack (one of them, the word that answers are read
at, is ours too in experiment B); as many relations more make the output matrix equal.
"""

from rdt_jax.profile.bench_cases import Bound, Loops, Overhead, Seeds, Updates

SMALL = {  # d 64, 4 heads, V 61, T 3
    "model.core_blocks": 1,
    "recurrence.num_loops": 4,
    "batch_size": 256,
}
COMPOSITION = {  # d 768, 12 heads, L 4, R 4, B 128, V 2207, T 3, dropout 0.1
    "task.kwargs.num_relations": 206,
    "model.dtype": "float32",
}
DEPTH = {  # d 768, 12 heads, L 4, B 128, V 217, T 4, no positions, dropout 0.1
    "task.kwargs.num_relations": 15,
    "task.kwargs.max_hops": 2,
    "task.kwargs.max_train_hops": 2,
    "model.dtype": "float32",
    "model.remat": "none",
    "recurrence.num_loops": 4,
}
CPU = "configs/knowledge_composition.py:cpu"

CASES = {
    "small": Updates(
        CPU, SMALL, (Bound("ratio", at_least=2.0, aim=2.5),), against_torch=True
    ),
    "composition": Updates(
        "configs/knowledge_composition.py:paper_code",
        COMPOSITION,
        (
            Bound("ratio", at_least=1.0, aim=1.2),
            Bound("share of peak", at_least=0.7),
        ),
        against_torch=True,
    ),
    # PyTorch pads every row to 50 tokens, as the authors do.
    "two_hops": Updates(
        "configs/knowledge_depth.py:paper",
        DEPTH,
        (Bound("ratio", at_least=12.0),),
        against_torch=True,
        torch_length=50,
    ),
    "eight_seeds": Seeds(CPU, SMALL, (Bound("ratio", at_least=3.0),), num_seeds=8),
    "loops_small": Loops(
        CPU,
        SMALL,
        (
            Bound("compile seconds", at_most=1.3),
            Bound("growth of memory", at_most=1.3),
        ),
        loops=(4, 32),
    ),
    "loops_composition": Loops(
        "configs/knowledge_composition.py:paper_code",
        COMPOSITION,
        (
            Bound("compile seconds", at_most=1.3),
            Bound("growth of memory", at_most=1.3),
        ),
        loops=(4, 32),
    ),
    "overhead": Overhead(
        CPU, {"num_steps": 4_000}, (Bound("share of wall time", at_most=0.05),)
    ),
}
