"""Source models on screen: ranked cards that fit, why others do not, the depth probe, and adding one's own."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from tltools import costs, evidence, own_weights, sources
from tltools.fits import Fit, weights_of
from tltools.home import Home
from tltools.records import Dataset, Refusal, Source
from tltools.store import Store
from tltools.ui import charts, state, uploads, widgets
from tltools.ui.words import duration, esc, minus, parameters, short, size

Row = Mapping[str, Any]
_KEPT = 300  # seconds that an answer of the hub is shown before it is asked again
AGREE = 0.6  # mean tau of the scores from which they are said to agree


def thinned(found: Sequence[Source], chosen: Sequence[str]) -> list[Source]:
    """One card for all draws and shares of one's own arm: of those that saw the most labels the chosen one, if any."""
    best: dict[str, Source] = {}
    for source in sorted(found, key=lambda source: source.id not in chosen):
        arm = re.sub(r", [\d,]+ labels$", "", f"{source.name} {source.pretraining}")
        known = best.get(arm)
        if known is None or _labels(source) > _labels(known):
            best[arm] = source
    kept = {source.id for source in best.values()} | set(chosen)
    return [source for source in found if source.provider != "own" or source.id in kept]


def _labels(source: Source) -> int:
    said = re.search(r"([\d,]+) labels", source.pretraining)
    return int(said.group(1).replace(",", "")) if said else 0


def ordered(dataset: Dataset, cells: Sequence[Fit], cards: Mapping[str, Source], ranks: Mapping[str, Row]) -> list[Fit]:
    """Ranked ones first by rank; then what lies here, trained before untrained, what was taught elsewhere, mostly on
    far more rows, before one's own, small before large."""

    def place(cell: Fit) -> tuple[Any, ...]:
        card, rank = cards[cell.source], ranks.get(cell.source, {}).get("rank")
        # a network that was trained on these very rows is the last thing to transfer from
        known, own = card.trained_on == dataset.id, card.provider == "own"
        return (
            known,
            cell.new_input,
            rank is None,
            rank or 0,
            not card.installed,
            not card.pretrained,
            own,
            card.parameters or 0,
        )

    return sorted((cell for cell in cells if cell.fits), key=place)


def card(
    source: Source, cell: Fit, rank: Row | None, static: int | None, doubts: Sequence[str], speed: str,
    limits: tuple[int, int | None], chosen: bool,
) -> bool:  # fmt: skip
    """One source; doubts: what speaks of negative transfer; speed: see below; limits: tokens and pixels that are read,
    as `row_sizes.limits` says. Returns whether it is chosen."""
    with st.container(border=True, height="stretch", key=f"card_{source.id.replace('/', '_').replace('.', '_')}"):
        picked = st.toggle(esc(short(source.name, 46)), value=chosen, key=f"pick_{source.id}")
        chips = [f":green-badge[:material/trophy: rank {rank['rank']}]"] if rank and rank.get("rank") else []
        if not source.pretrained:
            chips.append(":gray-badge[untrained]")
        chips.append(":green-badge[:material/check: here]" if source.installed else ":gray-badge[to download]")
        if static is not None and source.pretrained:
            chips.append(f":gray-badge[by size: {static}]")
        st.markdown(" ".join(chips))
        st.caption(" · ".join(_facts(source, *limits)))
        said = short(source.pretraining, 110)
        st.caption(esc(said[:1].upper() + said[1:]))
        if speed:
            st.caption(f":material/speed: {speed}")
        if rank and rank.get("as_it_is") is not None:
            right = f"{100 * rank['as_it_is']:.1f} %"
            st.caption(f":material/psychology: knows your classes: right on {right} as it is, without your labels")
        elif cell.knows:
            st.caption(":material/psychology: its own head knows your classes: rank it, or ask it as it is (zero-shot)")
        if cell.columns:
            st.caption(f":material/table_chart: {esc(cell.why)}")
        for warning in (*cell.warnings, *doubts):
            st.markdown(f":orange[:material/warning:] {esc(warning)}")
        _lengths(source, cell)
        with st.popover("More", type="tertiary"):
            _more(source, rank)
    return bool(picked)


def _lengths(source: Source, cell: Fit) -> None:
    """Where texts are longer than what is read of them: buttons that choose the same weights reading more."""
    others = {f"{weights_of(source.id)}@{tokens}": tokens for tokens in cell.lengths}
    for other in [id for id in others if id not in state.sources()]:
        if st.button(f"Read {others[other]:,} tokens", icon=":material/notes:", key=f"read_{source.id}_{other}"):
            state.put(source=",".join([*state.sources(), other]), study=None)
            st.rerun()


def speed(store: Store, source: Source, dataset: Dataset) -> str:
    """How many rows pass a source in a second here, where that is known; else ""."""
    cost, whence = costs.rate(store, sources.serving(source, dataset), dataset)
    said = f"{cost['rows_per_second']:,.0f} rows a second, measured here"
    return {"here": said, "elsewhere": f"about {said} on other rows", "": ""}[whence]


def _facts(source: Source, tokens: int, pixels: int | None) -> list[str]:
    said = [parameters(source.parameters)]
    if source.megabytes:
        said.append(size(source.megabytes * 1e6))
    if pixels:
        said.append(f"{pixels} px")
    if source.reads == "text":
        said.append(f"reads {tokens:,} tokens")
    if source.sampling_rate:
        said.append(f"{source.sampling_rate / 1000:g} kHz" + (f", {source.seconds:g} s" if source.seconds else ""))
    said.append(f"licence: {esc(source.licence)}")
    return said


def _more(source: Source, rank: Row | None) -> None:
    st.markdown(f"**{esc(source.id)}** reads {source.reads}; architecture {esc(source.architecture)}.")
    st.markdown(f"**Known bias.** {esc(source.bias)}")
    if source.languages:
        st.markdown(f"**Languages.** {esc(', '.join(source.languages[:12]))}")
    if source.released:
        st.markdown(f"**Released** {source.released}.")
    if rank:
        names = {
            "loo_ridge": "leave-one-out ridge",
            "knn": "nearest neighbours",
            "logme": "LogME",
            "h_score": "H-score",
            "leep": "LEEP",
        }
        said = minus(", ".join(f"{word} {rank[key]:.3f}" for key, word in names.items() if rank.get(key) is not None))
        st.markdown(f"**Scores on your rows.** {said}; one pass took {duration(rank.get('seconds'))}.")
        for key, word in (("beside", "Frozen"), ("own_head", "Its own head"), ("apart", "How far")):
            if rank.get(key):
                st.markdown(f"**{word}.** {esc(rank[key])}")


def why_not(cells: Sequence[Fit], cards: Mapping[str, Source]) -> None:
    """Those that do not fit, the reason, and the nearest that does."""
    others = [cell for cell in cells if not cell.fits]
    if not others:
        return
    with st.expander(f"{len(others)} that do not fit, and why"):
        frame = pd.DataFrame(
            [
                {
                    "source": cell.source,
                    "why not": cell.why,
                    "instead": cell.instead or "",
                    "reads": cards[cell.source].reads,
                }
                for cell in others
            ]
        )
        widgets.table(frame, "Source models that do not fit, with reasons", "why_not")


def trust(store: Store, ranks: Sequence[Row]) -> None:
    """How far the ranking can be relied on: whether its scores agree, and how rankings held on this machine."""
    said = []
    alike = evidence.agreement(ranks)
    if not math.isnan(alike):
        much = "agree" if alike >= AGREE else "partly agree" if alike > 0 else "contradict each other"
        said.append(minus(f"The four scores {much} on the order (mean Kendall tau {alike:.2f})."))
    if (held := evidence.track(store)) is not None:
        said.append(held.sentence())
    if said:
        st.caption(" ".join(said))


def depth(found: Mapping[str, Any]) -> None:
    """How good each depth of a source is for this dataset, from the depth probe of the ranking."""
    lines = {key: value for key, value in found.items() if value.get("stages")}
    if not lines:
        return
    st.subheader("Where to cut", anchor=False)
    st.caption("How well a linear layer on each block separates your classes: a peak before the top says, freeze less.")
    colours = charts.palette()
    chart = charts.figure(colours, 300, x="block, from the input up", y="leave-one-out score")
    rows = []
    for k, (source, value) in enumerate(lines.items()):
        names = [str(stage["name"]) for stage in value["stages"]]
        scores = [stage["score"] for stage in value["stages"]]
        colour = colours.series[k % len(colours.series)]
        chart.add_trace(
            go.Scatter(x=list(range(len(scores))), y=scores, mode="lines+markers", name=source, line={"color": colour},
                       text=names, hovertemplate="%{text}: %{y:.3f}<extra></extra>", showlegend=len(lines) > 1)
        )  # fmt: skip
        if value.get("sentence"):
            st.markdown(f"**{esc(source.split('/')[-1])}.** {esc(value['sentence'])}")
        rows += [{"source": source, "block": n, "score": s} for n, s in zip(names, scores, strict=True)]
    charts.show(chart, "Score of a linear layer on each block of each source", "depth", pd.DataFrame(rows))


def search(home: Home, dataset: Dataset) -> None:
    """Free search on the hub, beyond the list."""
    with st.expander("Search the hub for more"):
        query = st.text_input("Name or part of it", key="hub_query", max_chars=80, placeholder="convnext, multilingual")
        if not query.strip():
            return
        try:
            found = _found(str(home.root), query.strip(), home)
        except Refusal as refusal:
            widgets.problems(refusal.problems)
            return
        if not found:
            st.markdown("The hub knows nothing under that name.")
        for source in found[:20]:
            cell = sources.fit(home, source, dataset)
            left, right = st.columns([3, 1], vertical_alignment="center")
            left.markdown(f"**{esc(source.id)}** · {esc(cell.why)}")
            if right.button("Take it", key=f"take_{source.id}", disabled=not cell.fits):
                state.put(source=",".join(dict.fromkeys([*state.sources(), source.id])))
                st.rerun()


@st.cache_data(max_entries=32, ttl=_KEPT, show_spinner="Asking the hub")
def _found(root: str, query: str, _home: Home) -> list[Source]:
    return sources.search(_home, query)


def add_own(home: Home) -> None:
    """One's own weights: a safetensors file with the architecture it was made for."""
    with st.expander("Add my own"):
        st.markdown(
            "A **safetensors** file for a timm architecture. A Hugging Face model folder is added in the terminal: "
            "`python -m tltools sources add FOLDER --name NAME`. Pickle files are refused: they can run code."
        )
        turn = st.session_state.setdefault("own_turn", 0)
        with st.form("own_source", border=False):
            file = st.file_uploader("Weights (.safetensors)", type=["safetensors"], key=f"own_file_{turn}")
            left, right = st.columns(2)
            name = left.text_input("Name", max_chars=64, key="own_name")
            architecture = right.text_input("timm architecture", key="own_architecture", placeholder="resnet18")
            mean = left.text_input("Mean per channel", key="own_mean", placeholder="0.485, 0.456, 0.406")
            std = right.text_input("Spread per channel", key="own_std", placeholder="0.229, 0.224, 0.225")
            sent = st.form_submit_button("Check and add", icon=":material/check:")
        if not sent or file is None:
            return
        path = uploads.keep(home, file.name, file)
        try:
            with st.spinner("Trying the weights on the architecture, in a process of their own."):
                made = sources.add(
                    home,
                    path,
                    name=name,
                    architecture=architecture or None,
                    mean=own_weights.three_numbers("Mean", mean),
                    std=own_weights.three_numbers("Spread", std),
                )
        except Refusal as refusal:
            widgets.problems(refusal.problems, most=20)
            return
        finally:
            path.unlink(missing_ok=True)
        uploads.forget(file)
        st.session_state["own_turn"] = turn + 1
        state.put(source=",".join(dict.fromkeys([*state.sources(), made.id])))
        st.rerun()
