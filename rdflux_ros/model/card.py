"""The card of a model: what it is, what it was trained on, how well it does, as markdown from figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rdflux_ros.model.config import ModelConfig

Row = Mapping[str, str | float | int]


@dataclass(frozen=True)
class Figures:
    """A table of the card.

    Parameters
    ----------
    title
        What was measured, on what.
    rows
        All with the same columns, in order; floats are written with four digits.
    command
        What prints these figures: a claim without its command has no place in a card.
    """

    title: str
    rows: Sequence[Row]
    command: str


@dataclass(frozen=True)
class CardFacts:
    """All that a card says beside the config."""

    name: str
    summary: str
    digest: str
    parameters: Mapping[str, int]
    """By part."""
    data: str
    """Training data and its attribution."""
    training: Mapping[str, str]
    """Hardware, hours, maps seen, commands, ..."""
    figures: Sequence[Figures]
    limits: Sequence[str] = ()
    """What it was not made for."""


def model_card(config: ModelConfig, facts: CardFacts) -> str:
    """The card as markdown.

    Raises
    ------
    ValueError
        A table is empty, its rows differ in columns, or it names no command.
    """
    method = config.method
    sections = [
        f"# {facts.name}\n\n{facts.summary}",
        f"Digest (SHA-256 of config and weights): `{facts.digest}`",
        f"Transmitters from {method.lowest_z_m:g} to {method.highest_z_m:g} m above ground; others are answered with "
        "their height clamped and marked extrapolated.",
        "## Parts\n\n" + table([{"part": part, "parameters": f"{n:,}"} for part, n in facts.parameters.items()]),
        f"## Data\n\n{facts.data}",
        "## Training\n\n" + _points(facts.training),
        "## Figures\n\n" + "\n\n".join(_figures(figures) for figures in facts.figures),
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in facts.limits) if facts.limits else "",
        "## Config\n\n" + "\n\n".join(_section(name, values) for name, values in config.as_dict().items()),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def table(rows: Sequence[Row]) -> str:
    """A markdown table; the first row names the columns. `ValueError` where rows are missing or differ in columns."""
    if not rows:
        raise ValueError("a table without rows")
    columns = list(rows[0])
    if any(list(row) != columns for row in rows):
        raise ValueError(f"rows differ in columns from {', '.join(columns)}")
    cells = [columns, ["---"] * len(columns), *([_cell(row[column]) for column in columns] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def _cell(value: str | float | int) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def _points(facts: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: {text}" for name, text in facts.items())


def _figures(figures: Figures) -> str:
    if not figures.command:
        raise ValueError(f"{figures.title}: no command prints these figures")
    return f"### {figures.title}\n\n{table(figures.rows)}\n\nPrinted by `{figures.command}`."


def _section(name: str, values: Mapping[str, object]) -> str:
    return f"### {name}\n\n" + _points({f"`{key}`": str(value) for key, value in values.items()})
