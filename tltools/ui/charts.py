"""The look of every chart: one Plotly template for light and dark, the palette, and how a chart is shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
import streamlit as st

from tltools.ui import widgets
from tltools.ui.words import VERDICTS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Palette:
    """Colours of one theme; verdict colours are safe for colour-blind eyes and stand 3:1 off the background."""

    ink: str
    soft: str
    line: str
    band: str
    paper: str
    accent: str
    green: str
    orange: str
    gray: str
    series: tuple[str, ...]
    scale: tuple[tuple[float, str], ...]


LIGHT = Palette(
    "#1c2529", "#56626a", "#dfe5e8", "rgba(107,119,128,.16)", "#ffffff", "#0b6e8f", "#009e73", "#d55e00", "#7d8a92",
    ("#0b6e8f", "#009e73", "#8f5ca8", "#b07d00", "#c2477f", "#3f7fd1"),
    ((0.0, "#ffffff"), (0.15, "#dcecf2"), (1.0, "#0b6e8f")),
)  # fmt: skip
DARK = Palette(
    "#e6ecee", "#a9b5bb", "#2c383d", "rgba(169,181,187,.16)", "#12181b", "#5cc1de", "#2fc79a", "#f0854a", "#8d9aa2",
    ("#5cc1de", "#2fc79a", "#c69ad9", "#e0b84c", "#ee8fb8", "#8ab4f8"),
    ((0.0, "#12181b"), (0.15, "#1b3641"), (1.0, "#5cc1de")),
)  # fmt: skip
_DASHES = ("solid", "solid", "solid", "solid", "solid", "solid")
CONTROL_DASH = ("dot", "dash", "dashdot")


def palette() -> Palette:
    """The colours of the theme that the visitor sees."""
    return DARK if st.context.theme.type == "dark" else LIGHT


def verdict_colour(word: str, colours: Palette) -> str:
    """A verdict's colour; its mark and word always stand beside it."""
    return str(getattr(colours, VERDICTS[word].colour))


def figure(colours: Palette, height: int, x: str = "", y: str = "") -> go.Figure:
    """An empty chart in the house's look; x and y are the axes' titles."""
    axis = {
        "gridcolor": colours.line, "linecolor": colours.line, "zeroline": False, "title_font_color": colours.soft,
        "tickfont": {"color": colours.soft, "size": 12}, "title_font_size": 13, "automargin": True, "title_standoff": 8,
        "exponentformat": "none", "separatethousands": True,  # the default writes 0.0004 as 400µ
    }  # fmt: skip
    return go.Figure(
        layout=go.Layout(
            height=height,
            margin={"l": 8, "r": 12, "t": 12, "b": 8},
            font={"family": "Inter, system-ui, sans-serif", "size": 13, "color": colours.ink},
            paper_bgcolor="rgba(0,0,0,0)",
            plot_bgcolor="rgba(0,0,0,0)",
            xaxis={**axis, "title_text": x, "showgrid": False},
            yaxis={**axis, "title_text": y},
            legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"size": 12}, "title": ""},
            hoverlabel={"font": {"family": "Inter, system-ui, sans-serif", "size": 12}},
            hovermode="closest",
            dragmode=False,
            # on a phone its button is always there; the default is a dark box over what is drawn
            modebar={"bgcolor": "rgba(0,0,0,0)", "color": colours.soft, "activecolor": colours.ink},
        )
    )


def show(
    chart: go.Figure, alt: str, name: str, behind: pd.DataFrame | None = None, *, select: bool = False
) -> list[dict[str, Any]]:
    """Draws a chart with alt text, a picture to download and the table behind it; returns selected points."""
    config = {
        "displaylogo": False,
        "scrollZoom": False,
        "modeBarButtons": [["toImage"]],
        "toImageButtonOptions": {"filename": name, "scale": 2, "format": "png"},
    }
    if select:
        chart.update_layout(clickmode="event+select")
        event: Any = st.plotly_chart(
            chart, theme=None, key=f"chart_{name}", config=config, alt=alt, on_select="rerun", selection_mode="points"
        )
        points = list(event["selection"]["points"]) if event else []
    else:
        st.plotly_chart(chart, theme=None, key=f"chart_{name}", config=config, alt=alt)
        points = []
    if behind is not None:
        with st.expander("The numbers behind it"):
            widgets.table(behind, f"Table of: {alt}", name)
    return points


def epoch_step(span: float) -> int:
    """Epochs from tick to tick of an axis that shows so many: whole ones, and nine ticks at most."""
    return max(1, math.ceil(span / 8))


def axis_titles(titles: Sequence[str], most: int = 26) -> list[str]:
    """Names that fit beside a chart, two lines at most; equal ones stay apart."""
    found: list[str] = []
    for title in titles:
        words, lines = title.split(), [""]
        for word in words:
            if lines[-1] and len(lines[-1]) + len(word) + 1 > most:
                lines.append(word)
            else:
                lines[-1] = f"{lines[-1]} {word}".strip()
        said = "<br>".join(plain(line) for line in (lines if len(lines) < 3 else [lines[0], lines[1] + "…"]))
        while said in found:
            said += " "
        found.append(said)
    return found


def plain(text: str) -> str:
    """User-made text for Plotly, which renders a little HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
