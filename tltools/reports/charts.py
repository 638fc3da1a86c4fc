"""Small charts as inline SVG: they print, need no script, follow the page's colours, and have a table beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

Row = Mapping[str, Any]
WIDTH = 720
LEFT = 250  # of the names in a gain plot


def gains(rows: Sequence[Row], margin: float, factor: float, unit: str) -> str:
    """Gain of each arm over the best control with its interval, and the band of the margin. factor: 100 for points."""
    if not rows:
        return ""
    ends = [factor * row[key] for row in rows for key in ("low", "high")] + [-margin * factor, margin * factor]
    low, high = min(ends), max(ends)
    pad = 0.06 * (high - low or 1.0)
    right, height = WIDTH - 170, 34 * len(rows) + 46

    def x(value: float) -> float:
        return float(LEFT + (value - low + pad) / (high - low + 2 * pad) * (right - LEFT))

    parts = [
        f'<rect class="band" x="{x(-margin * factor):.1f}" y="4" '
        f'width="{max(x(margin * factor) - x(-margin * factor), 1):.1f}" height="{height - 46}"/>',
        f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="4" y2="{height - 42}"/>',
    ]
    for k, row in enumerate(rows):
        y, word = 22 + 34 * k, str(row["verdict"])
        gain = factor * row["gain"]
        hollow = " hollow" if word.startswith("leaning") or word == "not_enough_evidence" else ""
        parts += [
            f'<text class="name" x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{_short(row["title"])}</text>',
            f'<line class="{word}" x1="{x(factor * row["low"]):.1f}" x2="{x(factor * row["high"]):.1f}" '
            f'y1="{y}" y2="{y}"/>',
            f'<circle class="{word}{hollow}" cx="{x(gain):.1f}" cy="{y}" r="5"/>',
            f'<text class="{word} word" x="{right + 10}" y="{y + 4}">{escape(str(row["mark"]))} {row["word"]}</text>',
        ]
    parts += _axis(x, low, high, height - 28, unit)
    said = "; ".join(f"{row['title']}: {_said(factor * row['gain'], factor, '+')} ({row['word']})" for row in rows)
    return _svg(parts, height, f"Gain over the best control: {said}")


def lines(series: Sequence[Mapping[str, Any]], factor: float, unit: str) -> str:
    """Score against labels: one line per arm, controls dashed.

    series: {"title", "kind", "points": [(labels, score, low, high)]}.
    """
    series = [one for one in series if one["points"]]
    if not series:
        return ""
    ns = sorted({point[0] for one in series for point in one["points"]})
    values = [factor * v for one in series for point in one["points"] for v in point[1:]]
    low, high = min(values), max(values)
    height, right, top, bottom = 330, WIDTH - 210, 30, 280  # above it stands what the numbers are

    def x(n: float) -> float:
        if len(ns) == 1:
            return (60 + right) / 2
        return float(60 + (math.log(n) - math.log(ns[0])) / (math.log(ns[-1]) - math.log(ns[0])) * (right - 60))

    def y(value: float) -> float:
        return float(bottom - (value - low) / (high - low or 1.0) * (bottom - top))

    parts = [
        f'<line class="grid" x1="60" x2="{right}" y1="{y(t):.1f}" y2="{y(t):.1f}"/>'
        f'<text class="tick" x="52" y="{y(t) + 4:.1f}" text-anchor="end">{t:g}</text>'
        for t in ticks(low, high)
    ]
    parts += [f'<text class="tick" x="{x(n):.1f}" y="{bottom + 20}" text-anchor="middle">{n:,}</text>' for n in ns]
    for k, one in enumerate(series):
        style = f"line s{k % 6}" + (" control" if one["kind"] == "control" else "")
        path = " ".join(f"{x(n):.1f},{y(factor * value):.1f}" for n, value, _, _ in one["points"])
        parts.append(f'<polyline class="{style}" points="{path}"/>')
        for n, value, bottom_end, top_end in one["points"]:
            parts.append(f'<circle class="{style}" cx="{x(n):.1f}" cy="{y(factor * value):.1f}" r="3"/>')
            parts.append(
                f'<line class="{style} thin" x1="{x(n):.1f}" x2="{x(n):.1f}" '
                f'y1="{y(factor * bottom_end):.1f}" y2="{y(factor * top_end):.1f}"/>'
            )
        parts.append(
            f'<line class="{style}" x1="{right + 14}" x2="{right + 34}" y1="{20 + 18 * k}" y2="{20 + 18 * k}"/>'
        )
        parts.append(f'<text class="tick" x="{right + 40}" y="{24 + 18 * k}">{_short(one["title"], 24)}</text>')
    parts.append(f'<text class="tick" x="{(60 + right) / 2}" y="{bottom + 40}" text-anchor="middle">labels used</text>')
    parts.append(f'<text class="tick" x="8" y="14">{escape(unit)}</text>')
    said = "; ".join(f"{one['title']} {_said(factor * one['points'][-1][1], factor)}" for one in series)
    return _svg(parts, max(height, 30 + 18 * len(series)), f"Score against labels; at the most labels: {said}")


def scatter(points: Sequence[Row], factor: float, unit: str, across: str, *, log: bool = True) -> str:
    """Score against a cost, by its logarithm or as it is: points are {"title", "kind", "x", "score"}."""
    points = [point for point in points if point["x"] is not None and (point["x"] > 0 or not log)]
    if not points:
        return ""
    xs, values = [math.log10(p["x"]) if log else p["x"] for p in points], [factor * p["score"] for p in points]
    x0, x1, low, high = min(xs), max(xs), min(values), max(values)
    right, bottom = WIDTH - 210, 230

    def x(value: float) -> float:
        return float(70 + (value - x0) / ((x1 - x0) or 1.0) * (right - 80))

    def y(value: float) -> float:
        return float(bottom - 10 - (value - low) / ((high - low) or 1.0) * (bottom - 46))

    parts = [
        f'<line class="grid" x1="60" x2="{right}" y1="{y(t):.1f}" y2="{y(t):.1f}"/>'
        f'<text class="tick" x="52" y="{y(t) + 4:.1f}" text-anchor="end">{t:g}</text>'
        for t in ticks(low, high)
    ]
    for at in range(math.ceil(x0), math.floor(x1) + 1) if log else ticks(x0, x1):
        said = f"{10**at:,}" if log and at >= 0 else f"{10**at if log else at:,g}"
        parts.append(f'<text class="tick" x="{x(at):.1f}" y="{bottom + 18}" text-anchor="middle">{said}</text>')
    for k, (point, at, value) in enumerate(zip(points, xs, values, strict=True)):
        hollow = " hollow" if point["kind"] == "control" else ""
        parts.append(f'<circle class="dot{hollow}" cx="{x(at):.1f}" cy="{y(value):.1f}" r="5"/>')
        parts.append(f'<text class="tick" x="{x(at) + 8:.1f}" y="{y(value) + 4:.1f}">{k + 1}</text>')
        parts.append(
            f'<text class="tick" x="{right + 14}" y="{20 + 17 * k}">{k + 1} {_short(point["title"], 26)}</text>'
        )
    parts.append(
        f'<text class="tick" x="{(60 + right) / 2}" y="{bottom + 36}" text-anchor="middle">{escape(across)}</text>'
    )
    parts.append(f'<text class="tick" x="8" y="14">{escape(unit)}</text>')
    return _svg(parts, max(bottom + 46, 30 + 17 * len(points)), f"Score against {across}")


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between two ends."""
    span = (high - low) or 1.0
    step = 10 ** math.floor(math.log10(span / about))
    step *= next((m for m in (1, 2, 5, 10) if span / (step * m) <= about), 10)
    first = math.ceil(low / step) * step
    return [round(first + k * step, 10) for k in range(int((high - first) / step) + 1)]


def _said(value: float, factor: float, sign: str = "") -> str:
    """A drawn number for those who cannot see it: tenths of points, three digits of what is no share."""
    return f"{value:{sign}{'.1f' if factor > 1 else '.3g'}}"


def _axis(x: Callable[[float], float], low: float, high: float, y: float, unit: str) -> list[str]:
    marks = [f'<text class="tick" x="{x(t):.1f}" y="{y}" text-anchor="middle">{t:g}</text>' for t in ticks(low, high)]
    return [
        *marks,
        f'<text class="tick" x="{x((low + high) / 2):.1f}" y="{y + 20}" text-anchor="middle">{escape(unit)}</text>',
    ]


def _short(title: Any, most: int = 34) -> str:
    text = str(title)
    return escape(text if len(text) <= most else text[: most - 1] + "…")


def _svg(parts: Sequence[str], height: float, alt: str) -> str:
    body = "\n".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(alt)}">{body}</svg>'
