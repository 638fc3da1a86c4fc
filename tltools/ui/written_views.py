"""Written texts on screen: what they were written from, the reference and the output, side by side."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from tltools.ui.words import esc, short

MOST = 1500  # characters of a text that are shown


def beside(texts: Mapping[str, str]) -> None:
    """Texts by what they are, in columns of one width."""
    for column, (word, text) in zip(st.columns(len(texts), gap="medium"), texts.items(), strict=True):
        with column:
            st.caption(word)
            st.markdown(esc(short(text, MOST)) or "*nothing*")
