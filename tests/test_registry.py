"""Tables of named things."""

import pytest

from rdt_jax import registry

TABLE = {"pear": 2, "apple": 1, "none": None}


def test_lookup_returns_the_entry():
    assert registry.lookup("fruit", TABLE, "pear") == 2
    assert registry.lookup("fruit", TABLE, "none") is None


def test_an_unknown_name_lists_the_choices_in_order():
    message = r"^Unknown fruit 'plum'; choose from apple, none, pear\.$"
    with pytest.raises(ValueError, match=message):
        registry.lookup("fruit", TABLE, "plum")
