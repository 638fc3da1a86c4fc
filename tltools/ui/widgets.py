"""Small pieces that several pages share: problems, empty states, tables with a download, galleries, knobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import streamlit as st

from tltools.records import Choice, Knob, Number, Problem, Switch
from tltools.ui.words import esc, short

if TYPE_CHECKING:
    import pandas as pd

    from tltools.modalities import Files

_SEVERITY = {
    "error": ("orange", ":material/error:", "must be solved"),
    "warning": ("orange", ":material/warning:", "worth a look"),
    "note": ("gray", ":material/info:", "good to know"),
}
SHOWN_ROWS = 1000
CAPTION = 160  # letters below a picture


def title(text: str, under: str = "") -> None:
    """The question of a page, and one line below it."""
    st.title(text, anchor=False)
    if under:
        st.markdown(under)


def problems(found: Sequence[Problem], most: int = 6) -> None:
    """Problems by severity: where, what, remedy; errors open, a long list folded."""
    order = sorted(found, key=lambda problem: list(_SEVERITY).index(problem.severity))
    for problem in order[:most]:
        _problem(problem)
    if len(order) > most:
        with st.expander(f"{len(order) - most} more"):
            for problem in order[most : most + 100]:
                _problem(problem)


def _problem(problem: Problem) -> None:
    colour, icon, word = _SEVERITY[problem.severity]
    st.markdown(
        f":{colour}[{icon}] **{esc(problem.where)}** {esc(problem.what)} {esc(problem.remedy)} :{colour}-badge[{word}]"
    )


def empty(text: str, page: str, label: str) -> NoReturn:
    """What to do where there is nothing yet; ends the page."""
    with st.container(border=True):
        st.markdown(text)
        if st.button(label, type="primary", icon=":material/arrow_forward:", key="empty_action"):
            st.switch_page(page)
    st.stop()


def table(frame: pd.DataFrame, alt: str, name: str, config: Mapping[str, Any] | None = None) -> None:
    """A table of at most 1,000 shown rows; the whole of it can be downloaded where it is longer."""
    shown = frame.head(SHOWN_ROWS)
    st.dataframe(
        shown, hide_index=True, alt=alt, column_config=dict(config or {}), key=f"table_{name}", placeholder="–"
    )
    if len(frame) > len(shown):
        st.caption(f"The first {len(shown):,} of {len(frame):,} rows.")
    csv_button(frame, name)


def csv_button(frame: pd.DataFrame, name: str, label: str = "Download as CSV") -> None:
    """A download that is made on click; cells that a spreadsheet would execute are defused."""
    st.download_button(
        label,
        data=lambda: _csv(frame),
        file_name=f"{name}.csv",
        mime="text/csv",
        key=f"csv_{name}",
        icon=":material/download:",
        on_click="ignore",
        type="tertiary",
    )


def _csv(frame: pd.DataFrame) -> bytes:
    import io

    from defusedcsv import csv

    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([str(name) for name in frame.columns])
    writer.writerows(frame.itertuples(index=False, name=None))
    return text.getvalue().encode("utf-8-sig")


def gallery(
    files: Files, reading: Mapping[str, float], paths: Sequence[Path], captions: Sequence[str], width: int = 112
) -> None:
    """Stored files side by side as pictures with captions, which are their alt text, and a player for sounds."""
    with st.container(horizontal=True, gap="small"):
        for path, caption in zip(paths, captions, strict=True):
            if not path.is_file():
                continue
            if not files.plays:
                st.image(str(path), caption=esc(short(caption, CAPTION)), width=width, alt=caption)
                continue
            with st.container(width=max(width, 200), gap="xxsmall"):
                st.image(files.draw(path, reading), width="stretch", alt=f"Spectrogram: {caption}")
                st.audio(str(path))
                st.caption(esc(short(caption, CAPTION)))


def knobs(
    entries: Sequence[Knob], given: Mapping[str, Any], usual: Mapping[str, Any], key: Callable[[str], str]
) -> dict[str, Any]:
    """A form made of typed knobs; returns only what differs from the usual values; `key` names a knob's widget."""
    values = {knob.key: _knob(key(knob.key), knob, given.get(knob.key, usual[knob.key])) for knob in entries}
    return {key: value for key, value in values.items() if value != usual[key]}


def _knob(key: str, knob: Knob, value: Any) -> Any:
    if isinstance(knob, Switch):
        return st.toggle(knob.title, value=bool(value), key=key, help=knob.help)
    if isinstance(knob, Choice):
        return st.selectbox(knob.title, knob.options, index=knob.options.index(value), key=key, help=knob.help)
    return _number(key, knob, value)


def _number(key: str, knob: Number, value: Any) -> int | float:
    said = f"{knob.help} From {knob.low:g} to {knob.high:g}."
    if knob.integer:
        return int(st.number_input(knob.title, int(knob.low), int(knob.high), int(value), step=1, key=key, help=said))
    small = knob.logarithmic or knob.high <= 1
    step = float(value) / 2 if knob.logarithmic else 0.05 if knob.high <= 1 else 1.0
    form = "%.2e" if knob.logarithmic and knob.low < 1e-3 else "%.3f" if small else "%.1f"
    return float(
        st.number_input(
            knob.title, float(knob.low), float(knob.high), float(value), step=step, format=form, key=key, help=said
        )
    )
