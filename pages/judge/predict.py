"""judge/predict."""

import streamlit as st

st.title("judge/predict")
