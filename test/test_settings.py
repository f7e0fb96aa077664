"""Settings: what fits is taken, anything else is refused with its name and its range."""

from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.settings import SettingError, allowed, expanded, from_mapping, setting


@dataclass(frozen=True)
class Example:
    rate: float = setting(2.0, "how often [Hz]", minimum=0.1, maximum=10.0)
    size: int = setting(3, "how many", minimum=1)
    gain: float = setting(0.0, "how much", maximum=1.0)
    device: str = setting("auto", "where", choices=("auto", "cpu"))
    verbose: bool = setting(False, "whether to talk")
    share: float | str = setting(0.5, "how much of it", minimum=0.0, maximum=1.0, words=("auto",))


def test_values_that_fit_are_taken():
    assert from_mapping(Example, {}) == Example()
    made = from_mapping(Example, {"rate": 10, "size": 1, "device": "cpu", "verbose": True})
    assert made == Example(rate=10.0, size=1, device="cpu", verbose=True)
    assert isinstance(made.rate, float)
    assert from_mapping(Example, {"share": "auto"}).share == "auto" and from_mapping(Example, {"share": 1}).share == 1.0


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("rate", 0.05, "0.1 to 10"),
        ("rate", 10.5, "0.1 to 10"),
        ("rate", float("nan"), "0.1 to 10"),
        ("gain", float("-inf"), "at most 1"),
        ("rate", "fast", "0.1 to 10"),
        ("size", 0, "at least 1"),
        ("size", 1.0, "at least 1"),
        ("size", True, "at least 1"),
        ("device", "tpu", "one of 'auto', 'cpu'"),
        ("verbose", 1, "bool"),
        ("share", 1.5, "0 to 1, or 'auto'"),
        ("share", "none", "0 to 1, or 'auto'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_and_range(key, value, says):
    with pytest.raises(SettingError) as refused:
        from_mapping(Example, {key: value})
    assert key in str(refused.value)
    assert says in str(refused.value)


def test_unknown_key_is_refused_and_the_known_ones_are_named():
    with pytest.raises(SettingError, match=r"unknown setting speed.*device.*rate"):
        from_mapping(Example, {"speed": 1})


def test_keys_that_are_no_text_are_refused_too():
    with pytest.raises(SettingError, match="unknown setting 2, True, speed; known"):
        from_mapping(Example, {True: 2.0, "speed": 1, 2: 3})


def test_a_path_at_home_is_expanded_and_one_at_nobodys_refused_by_name():
    assert expanded("model", "~/flux") == Path.home() / "flux"
    assert expanded("model", "flux") == Path("flux")
    with pytest.raises(SettingError, match=r"model = '~nobody-here/flux': must be a path; there is no such home"):
        expanded("model", "~nobody-here/flux")


@pytest.mark.parametrize("field", fields(MapperConfig), ids=lambda field: field.name)
def test_defaults_of_the_mapper_fit_their_own_bounds(field):
    assert from_mapping(MapperConfig, {field.name: field.default}) == MapperConfig()
    assert field.metadata["doc"]
    assert allowed(field)
