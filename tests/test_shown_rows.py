"""Screens show some rows of a dataset: what the server keeps for them does not grow with the table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st
from streamlit.runtime.caching.cache_data_api import get_data_cache_stats_provider

from tltools import datasets
from tltools.home import Home
from tltools.ui import place_views, row_views

SENTENCE = "The harbour is quiet in the morning and loud at night."


def kept() -> int:
    """Bytes that Streamlit keeps of what functions returned."""
    found = get_data_cache_stats_provider().get_stats()
    stats = [one for group in found.values() for one in group] if isinstance(found, dict) else found
    return sum(one.byte_length for one in stats)


def test_of_a_table_the_rows_that_are_shown_are_kept(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    texts = [f"{i}: {SENTENCE * 4}" for i in range(2_000)]
    pd.DataFrame({"text": texts, "label": [i % 2 for i in range(2_000)]}).to_csv(path, index=False)
    dataset = datasets.add(home, path, target="label", inputs=["text"], task="classification")
    st.cache_data.clear()
    row_views.show(home, dataset, [3, 1_999], ["one", "two"])
    assert 0 < kept() < path.stat().st_size / 20


def test_of_texts_that_were_written_the_sources_that_are_shown_are_kept(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "papers.csv"
    texts = [f"Paper {i}. {SENTENCE * 4}" for i in range(500)]
    pd.DataFrame({"text": texts, "summary": [f"Number {i} is quiet." for i in range(500)]}).to_csv(path, index=False)
    dataset = datasets.add(home, path, target="summary", inputs=["text"], task="summarisation")
    st.cache_data.clear()
    shown = place_views._some(str(home.root), dataset.id, (7, 2), home, dataset)
    assert list(shown["_text"]) == [texts[7], texts[2]] and list(shown.index) == [7, 2]
    assert 0 < kept() < path.stat().st_size / 20
