"""Numbers as people write them."""

import pytest

from rdt_jax import wording


def test_a_count_has_its_plural_and_its_thousands():
    assert wording.count(1, "trial") == "1 trial"
    assert wording.count(0, "trial") == "0 trials"
    assert wording.count(1234, "trial") == "1,234 trials"
    assert wording.count(2, "process", "processes") == "2 processes"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (9.54e4 * 3600, "10.9 years"),
        (0.0767 * 3600, "4.6 minutes"),
        (1e15, "31,688,088 years"),
        (86400, "1 day"),
        (59.99, "1 minute"),  # Not 60 seconds.
        (1.5, "1.5 seconds"),
        (0.25, "250 ms"),
        (3e-6, "3 us"),
        (0, "0 us"),
    ],
)
def test_a_duration_is_in_its_largest_unit(seconds, text):
    assert wording.duration(seconds) == text
