"""What a compiled program moves: bytes of memory and of collectives, read off its text.

XLA's own count takes the body of a loop once, whatever its length. Here every
instruction counts as often as it runs, as far as the text tells: a loop whose bound is
no constant (the updates of a dispatch) counts once, and of a conditional the branch
that moves least (all updates but the last of a dispatch measure no norms).
"""

import collections
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-permute",
    "reduce-scatter",
)
# Neither move anything by themselves; the second of a pair is counted with the first.
_FREE = (
    "after-all", "add-dependency", "bitcast", "constant", "custom-call",
    "get-tuple-element", "iota", "opt-barrier", "parameter", "partition-id",
    "replica-id", "tuple",
)  # fmt: skip
_BITS = {"pred": 8, "token": 0}
_INSTRUCTION = re.compile(r"\s*(?:ROOT )?%([\w.-]+) = (.*?) ([a-z][\w-]*)\((.*)$")
_COMPUTATION = re.compile(r"(?:ENTRY )?%([\w.-]+) \(.*\{$")
_ARRAY = re.compile(r"\b([a-z]+\d*)(?:e\d\w*)?\[([\d,]*)\](\{[^}]*\})?")
_NAME = re.compile(r"%([\w.-]+)")


class Traffic(NamedTuple):
    """What one device moves in one run of a program."""

    # Read from and written to main memory; what stays on the chip beside the compute
    # units (memory space 1 of a TPU) costs nothing.
    bytes: int
    collectives: Mapping[str, int]  # kind -> how often it runs
    collective_bytes: int  # bytes of the results of all collectives


class _Instruction(NamedTuple):
    name: str
    shape: str  # of the result, with its layout
    opcode: str
    operands: tuple[str, ...]
    attributes: str  # what follows the operands


_Computations = Mapping[str, Sequence[_Instruction]]


def traffic(text: str) -> Traffic:
    """Counts what a program moves, from the text of `Compiled.as_text()`.

    ValueError if it has no entry computation.
    """
    computations, entry = _parse(text)
    return _of_computation(entry, computations)


def _parse(text: str) -> tuple[_Computations, str]:
    computations: dict[str, list[_Instruction]] = {}
    entry, current = None, None
    for line in text.splitlines():
        if found := _COMPUTATION.match(line):
            current = computations.setdefault(found[1], [])
            entry = found[1] if line.startswith("ENTRY") else entry
        elif current is not None and (found := _INSTRUCTION.match(line)):
            name, shape, opcode, rest = found.groups()
            inside, _, attributes = rest.partition(")")
            # A constant has its value there.
            operands = tuple(_NAME.findall(inside) or [inside])
            current.append(_Instruction(name, shape, opcode, operands, attributes))
    if entry is None:
        raise ValueError("The text of a compiled program has an ENTRY; this has none.")
    return computations, entry


def _of_computation(name: str, computations: _Computations) -> Traffic:
    shapes = {i.name: i.shape for i in computations[name]}
    return _sum([_of_instruction(i, shapes, computations) for i in computations[name]])


def _of_instruction(
    instruction: _Instruction, shapes: Mapping[str, str], computations: _Computations
) -> Traffic:
    opcode = instruction.opcode

    def called(key: str) -> list[str]:
        named = re.search(rf"\b{key}=(%[\w.-]+|\{{[^}}]*\}})", instruction.attributes)
        return _NAME.findall(named[1]) if named else []

    if opcode == "while":
        (body,), (condition,) = called("body"), called("condition")
        count = _trip_count(instruction.attributes, computations[condition])
        return _sum([_of_computation(body, computations)], count)
    if opcode == "conditional":
        key = "branch_computations"
        keys = (
            (key,)
            if key in instruction.attributes
            else ("true_computation", "false_computation")
        )
        branches = [name for key in keys for name in called(key)]
        found = (_of_computation(name, computations) for name in branches)
        return min(found, key=lambda traffic: traffic.bytes)
    if opcode == "call" or (
        opcode == "async-start" and "calls=" in instruction.attributes
    ):
        key = "to_apply" if "to_apply=" in instruction.attributes else "calls"
        return _of_computation(called(key)[0], computations)
    if opcode in _FREE or opcode.endswith(("-done", "-update")):
        return Traffic(0, {}, 0)
    arguments = [shapes[name] for name in instruction.operands if name in shapes]
    kind = opcode.removesuffix("-start")
    if kind in COLLECTIVES:
        result = _size(instruction.shape, everywhere=True)
        if opcode != kind:  # The result of a start holds its operands too.
            result -= sum(_size(shape, everywhere=True) for shape in arguments)
        moved = sum(map(_size, arguments)) + _size(instruction.shape)
        return Traffic(moved, {kind: 1}, result)
    if opcode == "copy-start":
        return Traffic(_size(arguments[0]) + _size(_parts(instruction.shape)[0]), {}, 0)
    if opcode == "fusion":
        (name,) = called("calls")
        return Traffic(_of_fusion(computations[name]), {}, 0)
    inside = [
        _Instruction(name, shapes[name], "parameter", (), "")
        for name in instruction.operands
        if name in shapes
    ]
    return Traffic(_of_fusion([*inside, instruction]), {}, 0)


def _of_fusion(body: Sequence[_Instruction]) -> int:
    """Returns what a fusion moves, its root last: of slices their part of the whole."""
    by_name = {i.name: i for i in body}
    root = body[-1]
    roots = [by_name[name] for name in root.operands] if root.opcode == "tuple" else []
    moved = 0
    for result in roots or [root]:
        # Written in place: only the part that is new.
        update = result.opcode == "dynamic-update-slice"
        new = by_name.get(result.operands[1]) if update else result
        if new is not None and _size(result.shape):
            moved += _size(new.shape, everywhere=update)
    for parameter in (i for i in body if i.opcode == "parameter"):
        users = [i for i in body if parameter.name in i.operands]
        if not _size(parameter.shape):
            continue
        moved += sum(_read_by(user, parameter) for user in users) if all(
            _reads_part(user, parameter) for user in users
        ) else _size(parameter.shape)  # fmt: skip
    return moved


def _reads_part(user: _Instruction, operand: _Instruction) -> bool:
    kinds = ("dynamic-slice", "slice", "gather", "dynamic-update-slice")
    return user.opcode in kinds and user.operands[0] == operand.name


def _read_by(user: _Instruction, operand: _Instruction) -> int:
    if user.opcode == "dynamic-update-slice":
        return 0
    part = _size(user.shape, everywhere=True)
    return min(part, _size(operand.shape))


def _trip_count(attributes: str, condition: Sequence[_Instruction]) -> int:
    """Returns how often a loop runs; 1 if the text does not tell."""
    if found := re.search(r'known_trip_count":\{"n":"(\d+)"', attributes):
        return int(found[1])
    bounds = {i.name: i for i in condition if i.opcode == "constant"}
    root = condition[-1]
    for name in root.operands:
        if root.opcode == "compare" and name in bounds:
            return int(bounds[name].operands[0])
    return 1


def _parts(shape: str) -> list[str]:
    return [found[0] for found in re.finditer(_ARRAY, shape)]


def _size(shape: str, everywhere: bool = False) -> int:
    """Returns the bytes of a shape, of its arrays in main memory or of all."""
    total = 0
    for kind, dimensions, layout in _ARRAY.findall(shape):
        if not everywhere and re.search(r"S\([1-9]", layout):
            continue
        count = 1
        for size in dimensions.split(","):
            count *= int(size or 1)
        total += count * _bits(kind) // 8
    return total


def _bits(kind: str) -> int:
    """Returns the bits of a number, such as 16 of bf16."""
    return _BITS[kind] if kind in _BITS else int(re.sub(r"\D", "", kind) or 0)


def _sum(parts: Sequence[Traffic], times: int = 1) -> Traffic:
    kinds: collections.Counter[str] = collections.Counter()
    for part in parts:
        kinds.update(part.collectives)
    return Traffic(
        times * sum(part.bytes for part in parts),
        {kind: times * count for kind, count in kinds.items()},
        times * sum(part.collective_bytes for part in parts),
    )
