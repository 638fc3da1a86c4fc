"""train/runs."""

import streamlit as st

st.title("train/runs")
