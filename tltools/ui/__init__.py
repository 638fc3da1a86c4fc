"""The only floor that imports streamlit."""
