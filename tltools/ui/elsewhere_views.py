"""On the Compare screen: an experiment that ran elsewhere, dropped as a table, and its verdict."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import streamlit as st

from tltools.records import Refusal, plain_name
from tltools.reports import elsewhere
from tltools.reports.elsewhere import Judged, Runs
from tltools.ui import verdict_views, widgets
from tltools.ui.words import esc

HOW = (
    "Drop a CSV with a line for each arm, draw (seed) and test row: `arm`, `draw`, `row`, `labels`, then `truth` and "
    "`prediction` (with `p_CLASS` for probabilities), or `score`. Every arm is judged as those of a study are."
)
EXAMPLE = """arm,draw,row,labels,truth,prediction
finetuned,0,img_001,64,ants,ants
scratch,0,img_001,64,ants,bees
"""


def offer() -> None:
    """Takes the table, asks what is a control, and says the verdict."""
    with st.expander("Judge an experiment that ran elsewhere", icon=":material/balance:"):
        st.markdown(HOW)
        st.code(EXAMPLE, language=None)
        given = st.file_uploader("Your runs", type=["csv", "tsv"], key="elsewhere_file", max_upload_size=50)
        if given is None:
            return
        left, right = st.columns(2, vertical_alignment="bottom")
        labels = left.number_input("Labels of each draw", 1, value=None, step=1, placeholder="as the column says",
                                   key="elsewhere_labels")  # fmt: skip
        margin = right.number_input("The gain below which nobody cares", 0.0, value=0.01, step=0.005, format="%g",
                                    key="elsewhere_margin")  # fmt: skip
        try:
            runs = _read(given, labels)
            found = _asked(runs, margin)
        except Refusal as refusal:
            widgets.problems(refusal.problems)
            return
    if found is not None:
        _told(runs, found)


def _read(given: Any, labels: int | None) -> Runs:
    with TemporaryDirectory() as folder:
        path = Path(folder) / plain_name(Path(given.name).name)
        path.write_bytes(given.getbuffer())
        return elsewhere.read(path, labels, uploaded=True)


def _asked(runs: Runs, margin: float) -> Judged | None:
    """The verdict, once it was said which arms are controls."""
    controls = st.multiselect("Controls: the arms without a source", runs.arms, key="elsewhere_controls")
    lower = runs.scored and st.toggle("Lower scores are better", key="elsewhere_lower")
    if not controls:
        return None
    return elsewhere.judge(runs, controls, margin, lower=lower)


def _told(runs: Runs, found: Judged) -> None:
    st.subheader(esc(found.answer["headline"]), anchor=False)
    for sentence in found.answer["sentences"]:
        st.markdown(f"- {esc(sentence)}")
    verdict_views.plotted(found.verdicts, found.answer["margin"], found.metric)
    st.download_button(
        "Numbers (JSON)", json.dumps(found.answer, indent=1), f"{Path(runs.shown).stem}-verdict.json",
        "application/json", icon=":material/data_object:", on_click="ignore", key="elsewhere_json",
    )  # fmt: skip
