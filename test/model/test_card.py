"""The card says what it was given, and refuses figures that no command prints."""

from dataclasses import replace

import pytest

from rdflux_ros.model.card import CardFacts, Figures, model_card, table
from rdflux_ros.model.config import COMPACT

FACTS = CardFacts(
    name="compact",
    summary="Two steps.",
    digest="00ff",
    parameters={"static": 4_600_000, "aligned": 5_010_000},
    data="Ray-traced streets; footprints © OpenStreetMap contributors, ODbL 1.0.",
    training={"hardware": "two cores", "hours": "34"},
    figures=[
        Figures(
            "Cities not trained on",
            [{"method": "flux", "nmse": 0.00712349}, {"method": "physics", "nmse": 0.013}],
            "rdflux-evaluate accuracy --split test",
        )
    ],
    limits=["Bridges are walls."],
)


def test_a_card_holds_all_it_was_given():
    card = model_card(COMPACT, FACTS)
    for text in ("# compact", "`00ff`", "5 to 120 m", "| static | 4,600,000 |", "© OpenStreetMap", "- hours: 34"):
        assert text in card
    for text in ("| flux | 0.007123 |", "`rdflux-evaluate accuracy --split test`", "- Bridges are walls.", "`widths`"):
        assert text in card


def test_a_card_without_limits_has_no_such_section():
    assert "## Limits" not in model_card(COMPACT, replace(FACTS, limits=[]))


def test_figures_without_a_command_are_refused():
    figures = replace(FACTS.figures[0], command="")
    with pytest.raises(ValueError, match="Cities not trained on: no command"):
        model_card(COMPACT, replace(FACTS, figures=[figures]))


def test_rows_that_differ_in_columns_are_refused():
    with pytest.raises(ValueError, match="differ in columns"):
        table([{"a": 1}, {"b": 2}])
    with pytest.raises(ValueError, match="without rows"):
        table([])
    assert table([{"a|b": "x|y"}]).splitlines()[-1] == "| x\\|y |"
