"""train/strategy."""

import streamlit as st

st.title("train/strategy")
