"""Columns of a source's table matched with those of the dataset: shown with reasons, and changed by hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from tltools import matching, sources
from tltools.fits import Fit, Match
from tltools.home import Home
from tltools.records import Dataset, Refusal, Source, Study
from tltools.store import Store
from tltools.ui import state, widgets
from tltools.ui.words import esc

NEW = "(new)"
HEAD = {"ours": "column here", "theirs": "column there", "why": "why", "sure": "how sure"}
Changes = dict[str, dict[str, str | None]]  # by source, as a study has them


def changes(store: Store, dataset: Dataset, opened: Study | None) -> Changes:
    """What was changed by hand: in the study that is open, else on this screen."""
    if opened is not None and opened.dataset == dataset.id:
        return opened.columns
    return dict((store.recall("columns", dataset.id) or {}).get("changes", {}))


def editors(
    home: Home, store: Store, dataset: Dataset, cells: Sequence[Fit], picked: Sequence[Source], known: Changes
) -> None:
    """One table of matches for each chosen source that learnt columns, and for one that lost all of them by hand."""
    by_source = {cell.source: cell for cell in cells}
    for source in picked:
        cell = by_source.get(source.id)
        if cell is None or not cell.columns:
            continue
        st.subheader(f"Columns that {esc(source.name)} knows", anchor=False)
        st.caption(
            f"{esc(cell.why)} A column that means the same takes over what was learnt; choose another, or {NEW} to "
            "start it anew. Numbers go with numbers, categories with categories."
        )
        _editor(home, store, dataset, source, cell.columns, known)


def _editor(
    home: Home, store: Store, dataset: Dataset, source: Source, matches: Sequence[Match], known: Changes
) -> None:
    names = [column.name for column in matching.known(home, source.id)]
    frame = frame_of(matches)
    version = hashlib.sha256(json.dumps(frame.to_dict("list")).encode()).hexdigest()[:8]
    edited = st.data_editor(
        frame, key=f"columns_{source.id}_{version}", hide_index=True, width="stretch",
        disabled=[HEAD["ours"], HEAD["why"], HEAD["sure"]],
        column_config={
            HEAD["theirs"]: st.column_config.SelectboxColumn(options=[NEW, *names], required=True, width="medium"),
            HEAD["sure"]: st.column_config.ProgressColumn(format="percent", min_value=0.0, max_value=1.0),
        },
    )  # fmt: skip
    wanted = changed(matching.between(home, source, dataset), edited)
    if wanted != known.get(source.id, {}):
        try:
            sources.get(home, source.id, dataset, wanted)
        except Refusal as refusal:
            widgets.problems(refusal.problems)
            return
        _keep(store, dataset, {**known, source.id: wanted})
    if wanted and st.button("As proposed", icon=":material/undo:", key=f"proposed_{source.id}"):
        _keep(store, dataset, {name: own for name, own in known.items() if name != source.id})


def frame_of(matches: Sequence[Match]) -> pd.DataFrame:
    """The matches as a table for people."""
    rows = [(m.column, m.source or NEW, m.why, round(m.sure, 2)) for m in matches]
    return pd.DataFrame(rows, columns=list(HEAD.values()))


def changed(proposed: Sequence[Match], edited: pd.DataFrame) -> dict[str, str | None]:
    """What of an edited table is not as it was proposed."""
    chosen: Mapping[str, str] = dict(zip(edited[HEAD["ours"]], edited[HEAD["theirs"]], strict=True))
    said = {match.column: None if chosen[match.column] == NEW else chosen[match.column] for match in proposed}
    return {match.column: said[match.column] for match in proposed if said[match.column] != match.source}


def _keep(store: Store, dataset: Dataset, found: Changes) -> None:
    """Remembers the changes for this dataset; a study that was open is a new one from now on."""
    store.remember("columns", dataset.id, {"changes": {name: own for name, own in found.items() if own}})
    state.put(study=None)
    st.rerun()
