"""Knowledge graphs from the folders that the authors of the papers release.

References: Kohli et al. (2026), arXiv:2604.07822, Sections 5.1 and 6.1; the format is
that of OSU-NLP-Group/Loop-Think-Generalize at 4e47341 (create_dataset.py) and of
OSU-NLP-Group/GrokkedTransformer at d7e06b4 (composition.ipynb).
"""

import json
import pathlib
import re
from typing import Any, NamedTuple

import numpy as np

from rdt_jax.tasks import base, knowledge, limits, oracles, splits

VERSION = 1  # of the tables; a change of their rows is another one

TEST_FILES = ("test.json", "test_small.json", "valid.json")
# Types of items that repeat rows of train.json, and of those that are held out.
TRAINED = re.compile(r"id_atomic|ood_atomic|atomic_facts|train_inferred|\d+hop_train")
HELD_OUT = re.compile(r"test_inferred_iid|test_inferred_ood|(?P<hops>\d+)hop_test")
WORD = re.compile(r"<[^<>]+>")
END = "</a>"  # Ends a target text; `<a>` is the answer token.


class Item(NamedTuple):
    """An item of a file: its tokens, its type ("" for none), and where it stands."""

    question: tuple[int, ...]
    answer: int
    kind: str
    file: pathlib.Path
    number: int

    def wrong(self, text: str) -> ValueError:
        """Returns the error that says where the item is and what is wrong with it."""
        return ValueError(f"{self.file}: item {self.number} {text}")


def ltg_folder(
    *,
    seed: int,
    path: str | None,
    test_file: str,
    answer_at: str,
    row_length: int | None,
) -> base.Table:
    """Multi-hop questions of a released folder, as it is.

    Rows of `train.json` are `train`; one that stands there more often is repeated. Of
    the test file, items of type `test_inferred_iid` are `id` and of `test_inferred_ood`
    are `ood`; those of `<k>hop_test` are `id` if training has k hops, else `depth`.
    Other types repeat training rows and add none. An `id` or `depth` row with a fact
    that no training composition uses is `unused`. A = 1, and the tags are `hops` and,
    if no row has more than two, `pattern` (knowledge.PATTERNS: the authors' labels).

    The labels are checked, not believed: every answer must follow from the one-hop rows
    of `train.json`, no held-out item may be a training row, and no fact of an `ood` row
    may be used by a training composition. Hops are counted in the item: the released
    train.json of many hops calls rows of k hops `<k - 2>hop_train`, and that of two
    hops gives no type at all.

    Chance is 1 / the number of different answers of training. What the last relation
    gives away, the shortcut `last_relation` says.

    Args:
      seed: plays no part; nothing is drawn.
      path: folder with vocab.json, train.json and the test file; an item has
        `input_text`, `target_text` (input, answer and `</a>`) and, in the test file,
        `type`. ValueError names the file, the number of a wrong item from 0, and what
        is wrong.
      test_file: one of TEST_FILES.
      answer_at: place where the logits are read, as in `knowledge_composition`.
      row_length: tokens to which all rows are padded, at least those of the longest;
        None pads to the longest. The authors pad the rows of many hops to 50, so that
        `pad` reads all of them at a pad.
    """
    del seed
    limits.one_of(TEST_FILES, test_file=test_file)
    limits.one_of(knowledge.ANSWER_AT, answer_at=answer_at)
    folder = _folder(path, test_file)
    vocab = _read_vocab(folder / "vocab.json")
    has_token = answer_at != "answer_token" or "<a>" in vocab
    must = f"be another than answer_token, since {folder}/vocab.json has no word <a>"
    limits.require(has_token, "answer_at", must, repr(answer_at))
    rows, repeats = _merge(_read_items(folder / "train.json", vocab))
    held_out = _held_out(rows, _read_items(folder / test_file, vocab))
    items, repeats = [*rows.values(), *held_out], repeats + len(held_out) * [1]
    is_train = np.arange(len(items)) < len(rows)
    hops = np.array([len(item.question) - 1 for item in items], np.int32)
    _check_use(folder / "train.json", (hops[is_train] > 1).any(), "composition")
    _check_use(folder / test_file, held_out, "held-out item")
    questions = base.pad([item.question for item in items])
    targets = np.array([item.answer for item in items], np.int32)
    words = ("<pad>", *vocab)
    facts = knowledge.facts_used(questions, targets, hops)
    _check_answers(facts, questions, targets, hops, items, words)
    split = _split(facts, is_train, hops, items)
    tokens, positions = _lay_out(questions, hops, answer_at, words, row_length)
    return base.certified(
        tokens,
        positions,
        targets,
        split,
        atoms=facts,
        held_out=f"What {test_file} of the folder holds out.",
        vocab=words,
        repeats=np.array(repeats),
        **_tags(hops, split),
        shortcuts={"last_relation": questions[np.arange(hops.size), hops]},
    )


def _tags(hops, split) -> dict[str, Any]:
    if hops.max() > 2:
        return {"tags": {"hops": hops}}
    is_ood = split == base.SPLITS.index("ood")  # PATTERNS: id-id, ood-ood
    pattern = np.where(hops == 1, 0, np.where(is_ood, 4, 1))
    names = {"pattern": knowledge.PATTERNS}
    return {"tags": {"hops": hops, "pattern": pattern}, "tag_names": names}


def _check_use(path, has_any, kind) -> None:
    if not has_any:
        raise ValueError(f"{path}: there must be a {kind}, but is none.")


def _split(facts, is_train, hops, items) -> np.ndarray:
    """Returns the split of each row [N]; checks that `ood` rows are what they say."""
    longest = hops[is_train & (hops > 1)].max()
    split = splits.assign(facts, is_train, hops > longest)
    is_ood = np.array([item.kind == "test_inferred_ood" for item in items]) & ~is_train
    none_known = (split == base.SPLITS.index("unused")) & ~splits.mixes(facts, split)
    for row in np.flatnonzero(is_ood & ~none_known):
        raise items[row].wrong(
            "must not ask for a fact that a composition of train.json uses, since its "
            "type is test_inferred_ood."
        )
    split[is_ood] = base.SPLITS.index("ood")
    return split


def _lay_out(questions, hops, answer_at, words, length):
    """Returns the tokens, padded to `length` if given, and where answers are read."""
    tokens, positions, _ = knowledge.place_answer(
        np.pad(questions, ((0, 0), (0, 1))), 1 + hops, answer_at, words
    )
    if length is not None:
        longest = tokens.shape[1]
        must = f"be none or at least {longest}, the tokens of the longest row"
        limits.require(length >= longest, "row_length", must, length)
        tokens = np.pad(tokens, ((0, 0), (0, length - longest)))
        if answer_at == "pad":
            positions[:] = length - 1
    return tokens, positions


def _folder(path, test_file) -> pathlib.Path:
    is_folder = path is not None and pathlib.Path(path).is_dir()
    must = f"be a released data folder with vocab.json, train.json and {test_file}"
    limits.require(is_folder, "path", must, repr(path))
    for name in ("vocab.json", "train.json", test_file):
        has_file = (pathlib.Path(path) / name).is_file()
        limits.require(has_file, "path", f"be a folder that has {name}", repr(path))
    return pathlib.Path(path)


def _read_json(path: pathlib.Path) -> list[Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # Neither JSON nor UTF-8; too deep.
        raise ValueError(f"{path}: must be JSON in UTF-8, but {error}.") from error
    if not isinstance(content, list) or not content:
        raise ValueError(f"{path}: must be a list that is not empty.")
    return content


def _read_vocab(path: pathlib.Path) -> dict[str, int]:
    """Returns the token of every word but <pad>, which is 0 and may be left out."""
    vocab: dict[str, int] = {}
    for number, word in enumerate(_read_json(path)):
        if not isinstance(word, str) or not WORD.fullmatch(word):
            raise ValueError(f"{path}: item {number} must be a <word>, got {word!r}.")
        if word == "<pad>" and number == 0:
            continue
        if word in vocab or word == "<pad>":
            raise ValueError(
                f"{path}: item {number} must be a new word (<pad> can only be item 0, "
                f"since token 0 is the padding), got {word!r}."
            )
        vocab[word] = 1 + len(vocab)
    return vocab


def _read_items(path: pathlib.Path, vocab: dict[str, int]) -> list[Item]:
    items = []
    for number, item in enumerate(_read_json(path)):
        read = Item((), 0, "", path, number)
        if not isinstance(item, dict):
            raise read.wrong(f"must be an object, got {item!r}.")
        for key in ("input_text", "target_text"):
            if not isinstance(item.get(key), str):
                raise read.wrong(f"must have a string {key}, got {item.get(key)!r}.")
        kind = item.get("type", "")
        if not isinstance(kind, str):
            raise read.wrong(f"must have a string as its type, got {kind!r}.")
        text, target = item["input_text"], item["target_text"]
        words = WORD.findall(text)
        if len(words) < 2 or "".join(words) != text:
            raise read.wrong(
                "must have an entity and relations, each a <word>, as its input_text, "
                f"got {text!r}."
            )
        answer = target.removeprefix(text).removesuffix(END)
        if text + answer + END != target or not WORD.fullmatch(answer):
            raise read.wrong(
                f"must have its input_text, one <word> and {END} as its target_text, "
                f"got {target!r}."
            )
        unknown = [word for word in (*words, answer) if word not in vocab]
        if unknown:
            raise read.wrong(
                f"must have words of vocab.json only, and not <pad>, got {unknown[0]}."
            )
        question = tuple([vocab[word] for word in words])
        items.append(Item(question, vocab[answer], kind, path, number))
    return items


def _merge(items) -> tuple[dict[tuple[int, ...], Item], list[int]]:
    """Returns the distinct items by their question, and how often each stands there."""
    rows: dict[tuple[int, ...], Item] = {}
    counts: dict[tuple[int, ...], int] = {}
    for item in items:
        first = rows.setdefault(item.question, item)
        if first.answer != item.answer:
            raise item.wrong(f"must not answer item {first.number} in another way.")
        counts[item.question] = counts.get(item.question, 0) + 1
    return rows, list(counts.values())


def _held_out(trained, tested) -> list[Item]:
    """Returns the items that are held out, after checking every type."""
    found: dict[tuple[int, ...], Item] = {}
    for item in tested:
        row = trained.get(item.question)
        held_out = HELD_OUT.fullmatch(item.kind)
        if held_out is None and not TRAINED.fullmatch(item.kind):
            raise item.wrong(
                "must have as its type test_inferred_iid, test_inferred_ood, "
                f"<k>hop_test or one of a training row, got {item.kind!r}."
            )
        if held_out is None:
            if row is None or row.answer != item.answer:
                raise item.wrong(
                    f"must be in train.json, since its type is {item.kind}."
                )
            continue
        if row is not None or item.question in found:
            where = "item {0.number} of {0.file.name}".format(
                found.get(item.question, row)
            )
            raise item.wrong(f"must not be {where} too, since its type is {item.kind}.")
        hops = len(item.question) - 1
        if hops < 2 or int(held_out["hops"] or hops) != hops:
            raise item.wrong(
                f"must have the hops of its type {item.kind}, and two or more, "
                f"got {hops}."
            )
        found[item.question] = item
    return list(found.values())


def _check_answers(facts, questions, targets, hops, items, words) -> None:
    """Refuses a row whose answer does not follow from the one-hop items."""
    ends = targets[facts]  # [N, K], of each hop
    begins = np.column_stack([questions[:, 0], ends[:, :-1]])
    is_missing = (facts < 0) & (np.arange(facts.shape[1]) < hops[:, None])
    for hop, row in np.argwhere(is_missing.T):
        raise items[row].wrong(
            f"needs {words[begins[row, hop]]}{words[questions[row, 1 + hop]]}, which "
            "no one-hop item of train.json states."
        )
    last = ends[np.arange(hops.size), hops - 1]
    for row in np.flatnonzero(last != targets):
        raise items[row].wrong(
            f"must be answered by {words[last[row]]}, as follows from the one-hop "
            f"items of train.json, got {words[targets[row]]}."
        )


EXAMPLES = {  # The paths are kinds of folders that tests write.
    "ltg_folder": [
        {"path": "systematicity", "test_file": "test.json", "answer_at": "last",
         "row_length": None},
        {"answer_at": "answer_token"},
        {"answer_at": "pad"},
        {"path": "extrapolation", "answer_at": "answer_token"},
        {"path": "extrapolation", "answer_at": "answer_token",
         "test_file": "test_small.json"},
    ],
}  # fmt: skip


ltg_folder_oracle = oracles.follow_relations
