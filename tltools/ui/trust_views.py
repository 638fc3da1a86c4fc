"""How far probabilities can be trusted: calibration, and what abstaining buys."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from tltools.home import Home
from tltools.reports import views as tables
from tltools.ui import charts


def calibration(home: Home, trial: str) -> None:
    """Said against true, the error before and after its mending, and the abstain slider."""
    found = _trust(str(home.root), trial, home)
    left, right = st.columns(2, gap="large")
    with left:
        _reliability(found)
    with right:
        _abstain(found)


@st.cache_data(max_entries=8, show_spinner="Measuring calibration")
def _trust(root: str, trial: str, _home: Home) -> dict[str, Any]:
    return tables.trust(_home, trial)


def _reliability(found: dict[str, Any]) -> None:
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
    if found["ece_after"] is not None:
        after = 100 * found["ece_after"]
        text += f" With temperature {found['temperature']:.2f}, fitted on {found['held']}: {after:.1f}."
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
