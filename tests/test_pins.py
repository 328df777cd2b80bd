"""A record of results is never written over by the same version of the code."""

import pytest

from tests import pins

KEPT = {"a": {"version": 1, "arguments": "x", "sha256": "12"}}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"version": 2, "sha256": "34"},
        {"arguments": "y", "sha256": "34"},  # Another table of the same code.
    ],
)
def test_a_record_is_written(changes):
    now = {"a": KEPT["a"] | changes, "b": KEPT["a"]}
    assert pins.merged(KEPT, now) == now
    assert pins.merged(KEPT, {}) == KEPT


def test_other_results_of_the_same_version_are_refused():
    with pytest.raises(ValueError, match="a has other results .* VERSION must be"):
        pins.merged(KEPT, {"a": KEPT["a"] | {"sha256": "34"}})
    without = {"a": {"version": 1, "numbers": {"x": 1.0}}}
    with pytest.raises(ValueError, match="got 1 as before"):
        pins.merged(without, {"a": {"version": 1, "numbers": {"x": 2.0}}})
