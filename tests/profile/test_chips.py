import pytest

from rdt_jax.profile import chips


def test_every_chip_names_its_source_and_is_a_chip():
    for chip in chips.CHIPS.values():
        assert "docs.cloud.google.com" in chip.source
        assert 1e14 < chip.flops < 1e15 and 1e11 < chip.links < chip.bandwidth * 2


def test_a_topology_names_its_chip():
    assert chips.of_topology("v5e:4x4") == chips.CHIPS["v5e"]
    assert chips.of_topology("v4:2x2x1") == chips.CHIPS["v4"]


@pytest.mark.parametrize(
    "name, message",
    [
        ("v5e", "--topology must be a chip and the sides.*'v5e'"),
        ("v5e:4xx4", "--topology must be a chip and the sides.*'v5e:4xx4'"),
        ("v9:4x4", "chip of --topology 'v9'; choose from v4, v5e, v5p, v6e"),
    ],
)
def test_another_topology_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        chips.of_topology(name)
