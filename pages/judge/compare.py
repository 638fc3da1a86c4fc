"""judge/compare."""

import streamlit as st

st.title("judge/compare")
