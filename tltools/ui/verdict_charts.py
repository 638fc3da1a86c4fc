"""The pictures of the verdict: gains with the margin band, score against labels and cost, curves, confusion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from tltools.tasks import Metric
from tltools.ui import charts, words
from tltools.ui.charts import CONTROL_DASH, Palette, figure, plain, verdict_colour
from tltools.ui.words import VERDICTS

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]


def gains(rows: Sequence[Row], margin: float, metric: Metric, colours: Palette) -> go.Figure:
    """Gain of each arm over the best control with its 95 % interval; band: the margin; the word stands at the name."""
    scale, unit = (100.0, "points") if metric.unit == "share" else (1.0, metric.title)
    ordered = sorted(rows, key=lambda row: float(row["gain"]))
    looks = [VERDICTS[str(row["verdict"])] for row in ordered]
    names = charts.axis_titles([str(row["title"]) for row in ordered])
    names = [f"<b>{name}</b><br>{look.mark} {look.word}" for name, look in zip(names, looks, strict=True)]
    axis = f"{unit} over the best control<br>band: ±{scale * margin:g}"  # in one line a phone would cut it
    chart = figure(colours, 116 + 58 * len(rows), x=axis)
    chart.add_vrect(-scale * margin, scale * margin, fillcolor=colours.band, line_width=0, layer="below")
    chart.add_vline(0, line_color=colours.soft, line_width=1)
    for name, row in zip(names, ordered, strict=True):
        word = str(row["verdict"])
        colour, look = verdict_colour(word, colours), VERDICTS[word]
        hollow = word.startswith("leaning") or word == "not_enough_evidence"
        low, gain, high = (scale * float(row[key]) for key in ("low", "gain", "high"))
        hover = (
            f"<b>{plain(str(row['title']))}</b><br>{look.mark} {look.word}<br>{gain:+.3g} ({low:+.3g} to {high:+.3g})"
            f"<br>against {plain(str(row['against_title']))}<extra></extra>"
        )
        chart.add_trace(
            go.Scatter(
                x=[low, high], y=[name, name], mode="lines", hoverinfo="skip", showlegend=False,
                line={"color": colour, "width": 2.5, "dash": "dot" if word == "not_enough_evidence" else "solid"},
            )
        )  # fmt: skip
        chart.add_trace(
            go.Scatter(
                x=[gain], y=[name], mode="markers", showlegend=False, hovertemplate=hover,
                marker={
                    "size": 12, "color": colours.paper if hollow else colour,
                    "line": {"color": colour, "width": 2.5},
                },
            )
        )  # fmt: skip
    ends = [0.0, *(scale * float(row[key]) for row in rows for key in ("low", "high"))]
    room = 0.06 * (max(ends) - min(ends)) or scale * margin
    chart.update_xaxes(range=[min(ends) - room, max(ends) + room])
    chart.update_yaxes(gridcolor=colours.line, tickfont={"color": colours.ink, "size": 13})
    return chart


def against_labels(table: pd.DataFrame, metric: Metric, colours: Palette) -> go.Figure:
    """Score against the number of labels, one line an arm with its interval; controls dashed and grey."""
    scale = words.scale(metric)
    chart = figure(colours, 400, x="labels used for training", y=words.titled(metric))
    for name, dash, colour, line in _arms(table, colours):
        line = line.sort_values("n_train")
        x, y = line["n_train"], scale * line["score"]
        low, high = scale * line["low"], scale * line["high"]
        sure = _sure(line)
        chart.add_trace(
            go.Scatter(
                visible=sure,
                x=[*x, *x[::-1]], y=[*high, *low[::-1]], fill="toself", fillcolor=_faint(colour), mode="lines",
                line={"width": 0}, hoverinfo="skip", showlegend=False, legendgroup=name,
            )
        )  # fmt: skip
        chart.add_trace(
            go.Scatter(
                x=x, y=y, mode="lines+markers", name=plain(name), legendgroup=name,
                line={"color": colour, "width": 2, "dash": dash}, marker={"size": 7, "color": colour},
                hovertemplate=f"<b>{plain(name)}</b><br>%{{x:,}} labels<br>%{{y:.4g}}<extra></extra>",
            )
        )  # fmt: skip
    counts = sorted({int(n) for n in table["n_train"]})
    drawn = [
        table["score"],
        *(line[end] for *_, line in _arms(table, colours) if _sure(line) for end in ("low", "high")),
    ]
    least, most = scale * min(one.min() for one in drawn), scale * max(one.max() for one in drawn)
    room = 0.1 * (most - least) or 1.0
    chart.update_yaxes(range=[least - room, most + room])
    chart.update_xaxes(type="log", tickvals=counts, ticktext=[f"{n:,}" for n in counts], minor_ticks="")
    return chart


def _sure(line: pd.DataFrame) -> bool:
    """Whether the interval of an arm is drawn: that of two draws fills the whole chart and says nothing."""
    return bool((line["draws"] >= 3).all())


def against_cost(table: pd.DataFrame, metric: Metric, what: str, x_title: str, colours: Palette) -> go.Figure:
    """Score against seconds a trial, or trained parameters, at the largest number of labels."""
    scale = words.scale(metric)
    chart = figure(colours, 330, x=x_title, y=words.titled(metric))
    here = table[table["n_train"] == table["n_train"].max()].dropna(subset=[what])
    here = here[here[what] > 0]
    arms = _arms(here, colours)
    sides = _label_sides([(math.log10(line[what].iloc[0]), float(line["score"].iloc[0])) for *_, line in arms])
    for (name, _, colour, line), side in zip(arms, sides, strict=True):
        kind = line["kind"].iloc[0]
        chart.add_trace(
            go.Scatter(
                x=line[what], y=scale * line["score"], mode="markers+text", name=plain(name),
                text=[plain(words.short(name, 36))],
                textposition=side, textfont={"size": 11, "color": colours.soft}, showlegend=False,
                marker={"size": 11, "color": colour, "symbol": "circle" if kind == "transfer" else "diamond-open"},
                hovertemplate=f"<b>{plain(name)}</b><br>%{{x:,.3g}}<br>%{{y:.4g}}<extra></extra>",
            )
        )  # fmt: skip
    low, high = here[what].min(), here[what].max()
    wide = math.log10(high) - math.log10(low) if len(here) else 0
    chart.update_xaxes(type="log", showgrid=True)
    if len(here):
        marks = _log_ticks(low, high)
        chart.update_xaxes(tickvals=marks, ticktext=[_brief(mark) for mark in marks])
        chart.update_xaxes(range=[math.log10(low) - 0.25 - 0.1 * wide, math.log10(high) + 0.25 + 0.1 * wide])
        spread = scale * (here["score"].max() - here["score"].min()) or abs(0.1 * scale * here["score"].max()) or 1.0
        chart.update_yaxes(
            range=[scale * here["score"].min() - 0.2 * spread, scale * here["score"].max() + 0.2 * spread]
        )
    return chart


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers for a logarithmic axis, from below the least to above the most; few where it is long."""
    steps = (1, 2, 5) if high < 300 * low else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10.0**k for k in decades for step in steps]


def _brief(value: float) -> str:
    """ "0.5", "20", "10k", "1M": millions in full would not fit."""
    return f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"


def _label_sides(points: Sequence[tuple[float, float]]) -> list[str]:
    """The side on which the name of each point stands: above it, or below where a higher one close by has it there;
    from points near an edge it runs towards the middle, where there is room."""
    xs, ys = zip(*points, strict=True) if points else ((0.0,), (0.0,))
    wide, high = (max(values) - min(values) or 1.0 for values in (xs, ys))
    above: list[tuple[float, float]] = []
    sides: dict[int, str] = {}
    for k in sorted(range(len(points)), key=lambda k: -points[k][1]):
        x, y = points[k]
        crowded = any(abs(x - a) < 0.3 * wide and abs(y - b) < 0.1 * high for a, b in above)
        at = (x - min(xs)) / wide if len(set(xs)) > 1 else 0.5
        sides[k] = f"{'bottom' if crowded else 'top'} {'right' if at < 0.35 else 'left' if at > 0.65 else 'center'}"
        if not crowded:
            above.append(points[k])
    return [sides[k] for k in range(len(points))]


def frontier(table: pd.DataFrame, metric: Metric, colours: Palette) -> go.Figure:
    """Score against the gap between groups with both intervals; a line joins the arms that none beats in both."""
    scale = words.scale(metric)
    chart = figure(colours, 380, x="equalised odds difference (points)", y=words.titled(metric))
    best = table[table["best"]].sort_values("gap")
    line = {"color": colours.soft, "width": 1.5, "dash": "dot"}
    chart.add_trace(go.Scatter(x=100 * best["gap"], y=scale * best["score"], mode="lines", line=line, showlegend=False,
                               hoverinfo="skip"))  # fmt: skip
    slowest = max(float(table["seconds"].fillna(0).max()), 1e-9)
    for name, _, colour, rows in _arms(table, colours):
        one = rows.iloc[0]
        cost = float(one["seconds"]) if one["seconds"] == one["seconds"] and one["seconds"] is not None else 0.0
        chart.add_trace(
            go.Scatter(
                x=[100 * one["gap"]], y=[scale * one["score"]], mode="markers", name=plain(name),
                error_x=_error(100, one["gap"], one["gap_low"], one["gap_high"], colour),
                error_y=_error(scale, one["score"], one["low"], one["high"], colour),
                marker={"size": 9 + 13 * math.sqrt(cost / slowest), "color": colour,
                        "symbol": "circle" if one["kind"] == "transfer" else "diamond-open"},
                hovertemplate=f"<b>{plain(name)}</b><br>gap %{{x:.1f}} points<br>%{{y:.4g}}<br>{cost:.3g} s a trial"
                "<extra></extra>",
            )
        )  # fmt: skip
    return chart


def _error(scale: float, value: float, low: float | None, high: float | None, colour: str) -> dict[str, Any]:
    """Error bars of a point; a resampled gap can lie above the one seen, whose bar then ends there."""
    if low is None or high is None:
        return {}
    up, down = max(high - value, 0.0), max(value - low, 0.0)
    return {"array": [scale * up], "arrayminus": [scale * down], "color": colour, "thickness": 1, "width": 0}


def learning(table: pd.DataFrame, colours: Palette) -> go.Figure:
    """Training (dotted) and validation loss by epoch of the trials given; table: name, epoch, train_loss, ..."""
    chart = figure(colours, 330, x="epoch", y="loss")
    chart.update_xaxes(dtick=charts.epoch_step(table["epoch"].max() - table["epoch"].min()))
    for k, (name, line) in enumerate(table.groupby("name", sort=False)):
        colour = colours.series[k % len(colours.series)]
        for column, dash, symbol, word in (
            ("validation_loss", "solid", "circle", "validation"),
            ("train_loss", "dot", "circle-open", "training"),
        ):
            chart.add_trace(
                go.Scatter(
                    x=line["epoch"], y=line[column], legendgroup=str(name), name=plain(str(name)),
                    mode="lines+markers", marker={"size": 6, "symbol": symbol},  # of one epoch there is no line
                    showlegend=column == "validation_loss", line={"color": colour, "width": 2, "dash": dash},
                    hovertemplate=f"{plain(str(name))}, {word}<br>epoch %{{x}}: %{{y:.3g}}<extra></extra>",
                )
            )  # fmt: skip
    return chart


def confusion(table: pd.DataFrame, classes: Sequence[str], colours: Palette) -> go.Figure:
    """Truth down, prediction across; a cell's shade is the share of its truth's rows, its number the count."""
    chart = figure(colours, min(110 + 46 * len(classes), 640), x="predicted", y="true")
    names = charts.axis_titles([str(name) for name in classes], 16)
    name_of = dict(zip(classes, names, strict=True))
    dark = colours.paper == "#12181b"
    strong = "#07232c" if dark else "#ffffff"
    size = max(14, min(40, 420 // max(len(classes), 1)))
    x, y = [name_of[p] for p in table["prediction"]], [name_of[t] for t in table["truth"]]
    chart.add_trace(
        go.Heatmap(
            x=x, y=y, z=table["share"], zmin=0, zmax=1, xgap=2, ygap=2, showscale=False, hoverinfo="skip",
            colorscale=[list(step) for step in colours.scale],
        )
    )  # fmt: skip
    chart.add_trace(  # a heat map cannot be clicked here; these marks can, and carry the numbers
        go.Scatter(
            x=x, y=y, mode="markers+text", text=[str(n) if n else "" for n in table["count"]],
            textfont={"color": [strong if share > 0.55 else colours.ink for share in table["share"]], "size": 13},
            marker={"symbol": "square", "size": size, "color": "rgba(0,0,0,0)"},
            customdata=table[["truth", "prediction"]].to_numpy(), showlegend=False,
            hovertemplate="true %{y}<br>predicted %{x}<br>%{text} rows<extra></extra>",
        )
    )  # fmt: skip
    chart.update_xaxes(type="category", categoryorder="array", categoryarray=names, side="bottom")
    chart.update_yaxes(type="category", categoryorder="array", categoryarray=names[::-1], showgrid=False)
    return chart


def _arms(table: pd.DataFrame, colours: Palette) -> list[tuple[str, str, str, pd.DataFrame]]:
    """(name, dash, colour, rows) per arm: controls first, so that transfer arms are drawn over them."""
    found = []
    for kind in ("control", "transfer"):
        here = table[table["kind"] == kind]
        for k, (name, line) in enumerate(here.groupby("title", sort=True)):
            if kind == "control":
                found.append((str(name), CONTROL_DASH[k % 3], colours.gray, line))
            else:
                found.append((str(name), "solid", colours.series[k % len(colours.series)], line))
    return found


def _faint(colour: str) -> str:
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({r},{g},{b},.08)"
