"""Numbers, words of verdicts and tables as HTML, for the sections of the report page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from tltools.reports import words
from tltools.tasks import Metric

Row = dict[str, Any]


def factor(metric: Metric) -> tuple[float, str]:
    """(by what a gain is multiplied where it is shown, its unit)."""
    return (100.0, "points") if metric.unit == "share" else (1.0, metric.title)


def shown(metric: Metric) -> float:
    """What a score is multiplied by where it is drawn, as in the tables."""
    return 100.0 if metric.per_cent else 1.0


def chip(word: str) -> str:
    """A verdict as its mark and its word."""
    return f'<span class="chip {word}">{words.MARKS[word]} <span>{words.WORDS[word]}</span></span>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Cells are HTML already; columns in `numbers` are set right."""
    side = ['class="n"' if k in numbers else "" for k in range(len(head))]
    top = "".join(f"<th {side[k]}>{escape(text)}</th>" for k, text in enumerate(head))
    body = "".join(
        "<tr>" + "".join(f"<td {side[k]}>{cell}</td>" for k, cell in enumerate(row)) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def gain(row: Row, metric: Metric) -> tuple[str, str]:
    """(gain with its sign, its interval), shares in points."""
    by, _ = factor(metric)
    said = f"{by * row['gain']:+.1f}" if by > 1 else f"{row['gain']:+.3g}"
    return said.replace("-", "−"), words.span(row["low"], row["high"], metric).removeprefix("95 % interval ")


def number(value: float) -> str:
    """A count in full, a share in per cent with one digit."""
    return "–" if value != value else f"{value:,}" if isinstance(value, int) else f"{value:.1f}"


def rate(values: tuple[float | None, ...] | None) -> str:
    """(value, low, high) of a group; – where it has none."""
    if values is None or values[0] is None:
        return "–"
    value, low, high = values
    interval = "" if low is None or high is None else f" ({low:.2f} to {high:.2f})"
    return f"{value:.3f}{interval}".replace("-", "−")
