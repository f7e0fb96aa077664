"""Everything that comes in and goes out, as hypothesis draws it; the same examples every time."""

from __future__ import annotations

import pytest

from rdflux_ros.node.fuzzing.catalogue import PROPERTIES
from rdflux_ros.node.fuzzing.property import Property

EXAMPLES = 200


@pytest.mark.parametrize("one", PROPERTIES, ids=lambda one: one.name)
def test_it_holds(one: Property) -> None:
    one.hold(round(EXAMPLES * one.share))
