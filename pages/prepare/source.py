"""prepare/source."""

import streamlit as st

st.title("prepare/source")
