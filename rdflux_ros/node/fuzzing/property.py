"""A property: inputs as they are drawn, and a check that raises where something does not hold for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hypothesis
from hypothesis.strategies import SearchStrategy


@dataclass(frozen=True)
class Property:
    """`check` takes what `inputs` draws; `share` says how many of all examples are this property's."""

    name: str
    inputs: SearchStrategy[Any]
    check: Callable[[Any], None]
    share: float = 1.0

    def hold(self, examples: int, seed: int | None = None, after_each: Callable[[], object] = lambda: None) -> None:
        """Draw so many inputs and check each; None draws the same ones at every call.

        Raises
        ------
        Exception
            What the check raised for the simplest input that hypothesis found; its note tells the input.
        """

        @hypothesis.settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=seed is None,
            print_blob=False,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(self.inputs)
        def holds(drawn: Any) -> None:
            after_each()
            self.check(drawn)

        (holds if seed is None else hypothesis.seed(seed)(holds))()
