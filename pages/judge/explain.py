"""judge/explain."""

import streamlit as st

st.title("judge/explain")
