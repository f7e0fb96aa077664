"""D_env: zero for the same streets, known for a known difference, larger the more a map changed."""

from __future__ import annotations

import pytest
import torch

from rdflux_ros.flux.similarity import environment_distance
from rdflux_ros.model.tiny import random_model
from rdflux_ros.networks.condition import Condition


def condition(tokens: int, key: float, value: float) -> Condition:
    keys, values = (torch.full((1, 2, tokens, 4), entry) for entry in (key, value))
    return Condition(torch.zeros(1, 8, 64, 64), (keys,), (values,))


@pytest.mark.parametrize("tokens", [1, 64])
def test_a_known_difference_is_found_whatever_the_size(tokens: int) -> None:
    one, other = condition(tokens, 0.5, 1.0), condition(tokens, 0.5 + 3.0, 1.0 - 4.0)
    assert environment_distance(one, other) == pytest.approx(5.0, rel=1e-5)
    assert environment_distance(other, one) == environment_distance(one, other)
    assert environment_distance(one, one) == 0.0


def test_the_more_of_a_map_changed_the_farther_it_is() -> None:
    streets = random_model(["aligned"]).stage("aligned").streets
    maps = torch.zeros(4, 2, 256, 256)
    maps[:, :, 100:140, 60:120] = torch.tensor([0.25, 1.0])[:, None, None]
    maps[1, :, 200:208, 30:40] = torch.tensor([0.2, 1.0])[:, None, None]
    maps[2, :, 160:220, 30:90] = torch.tensor([0.2, 1.0])[:, None, None]
    maps[3] = maps[3].flip(-1) + 0.3
    with torch.no_grad():
        found = [streets(image[None]).to(torch.float16) for image in maps]
    small, large, other = (environment_distance(found[0], changed) for changed in found[1:])
    assert 0 < small < large < other


def test_batches_are_refused() -> None:
    one = condition(4, 0.0, 0.0)
    two = Condition(one.stem, (one.keys[0].expand(2, -1, -1, -1),), (one.values[0].expand(2, -1, -1, -1),))
    with pytest.raises(ValueError, match="not of a batch"):
        environment_distance(one, two)
