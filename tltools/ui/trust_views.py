"""How far probabilities can be trusted: calibration, and what abstaining buys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from tltools.home import Home
from tltools.reports.trust import trust
from tltools.ui import charts
from tltools.ui.words import counted


def calibration(home: Home, tested: Sequence[Sequence[str]]) -> None:
    """Said against true, the error before and after its mending, and the abstain slider; tested: the trials, as
    `views.tested_by` has them."""
    found = _trust(str(home.root), tuple(map(tuple, tested)), home)
    left, right = st.columns(2, gap="large")
    with left:
        _reliability(found, len(tested[0]))
    with right:
        _abstain(found)
    if (folds := len(tested[0])) > 1:
        st.caption(
            f"Every row as the model said that had not seen it, over {counted(len(tested), 'repeat', 'repeats')} of "
            f"{folds} folds; temperatures and lists are set in each fold on its own rows. A row counts once."
        )
    for said in found["refused"]:
        st.caption(said)


@st.cache_data(max_entries=8, show_spinner="Measuring calibration")
def _trust(root: str, tested: tuple[tuple[str, ...], ...], _home: Home) -> dict[str, Any]:
    return trust(_home, tested)


def _reliability(found: dict[str, Any], folds: int) -> None:
    bins, colours = found["bins"], charts.palette()
    st.subheader("Is it as sure as it says?", anchor=False)
    chart = charts.figure(colours, 340, x="what it said (%)", y="how often it was right (%)")
    line = {"color": colours.gray, "dash": "dot", "width": 1.5}
    chart.add_trace(go.Scatter(x=[0, 100], y=[0, 100], mode="lines", line=line, hoverinfo="skip", showlegend=False))
    said, right, count = bins["confidence"], bins["accuracy"], bins["rows"]
    above, below = 100 * (bins["high"] - right), 100 * (right - bins["low"])
    chart.add_trace(
        go.Scatter(
            x=100 * said, y=100 * right, mode="lines+markers", showlegend=False,
            line={"color": colours.accent, "width": 2},
            error_y={"array": above, "arrayminus": below, "color": colours.accent, "thickness": 1, "width": 0},
            marker={"color": colours.accent, "size": 7 + 14 * np.sqrt(count / max(float(count.max()), 1.0))},
            text=[f"{n:,.0f} rows" for n in count],
            hovertemplate="said %{x:.0f} %, right %{y:.0f} %<br>%{text}<extra></extra>",
        )
    )  # fmt: skip
    chart.update_xaxes(range=[0, 102])
    chart.update_yaxes(range=[0, 107])
    alt = f"Calibration: on average the probabilities are off by {100 * found['ece']:.1f} points"
    charts.show(chart, alt, "calibration", bins)
    low, high = 100 * found["ece_low"], 100 * found["ece_high"]
    text = f"Off by **{100 * found['ece']:.1f} points** on average ({low:.1f} to {high:.1f})."
    each = " (median of the folds)" if folds > 1 else ""
    if found["ece_after"] is not None:
        after = 100 * found["ece_after"]
        text += f" With temperature {found['temperature']:.2f}{each}, fitted on {found['held']}: {after:.1f}."
    st.markdown(text)


def _abstain(found: dict[str, Any]) -> None:
    curve, colours = found["abstain"], charts.palette()
    st.subheader("What if it may say “I do not know”?", anchor=False)
    chart = charts.figure(colours, 340, x="answered (% of the rows)", y="right among the answered (%)")
    x, y = 100 * curve["coverage"], 100 * curve["accuracy"]
    chart.add_trace(go.Scatter(x=x, y=y, mode="lines", line={"color": colours.accent, "width": 2}, showlegend=False))
    answered = st.slider("Share of the rows it must answer (%)", 10, 100, 80, 5, key="abstain")
    at = int(np.abs(x.to_numpy() - answered).argmin())
    point = {"color": colours.orange, "size": 11}
    chart.add_trace(go.Scatter(x=[x.iloc[at]], y=[y.iloc[at]], mode="markers", marker=point, showlegend=False))
    charts.show(chart, "Share of right answers against the share of rows answered", "abstain", curve)
    st.markdown(f"Answering **{x.iloc[at]:.0f} %** of the rows, the surest first, **{y.iloc[at]:.1f} %** are right.")
    sets = found["conformal"]
    if sets:
        st.caption(
            f"A list of classes that holds the true one in {100 * sets['coverage']:.0f} % of the test rows "
            f"({100 * sets['level']:.0f} % asked for, set on {found['held']}) has {sets['mean_size']:.2f} classes on "
            "average."
        )
