"""What saved labels are worth in money and hours, at a price and a pace that the reader gives."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from tltools.judging.curves import worth
from tltools.records import Report


def asked(report: Report) -> None:
    """Two numbers to give, and what each arm's saved labels then come to; nothing where no arm's can be told."""
    rows = [row for row in report.labels_saved if row.get("labels_saved") is not None]
    if not rows:
        return
    with st.expander("What are the saved labels worth?"):
        left, right = st.columns(2)
        price = left.number_input("Price of a label", 0.0, 1e9, None, key="label_price", placeholder="money per label")
        pace = right.number_input("Labels an hour", 0.01, 1e9, None, key="label_pace", placeholder="labels per hour")
        if price is None and pace is None:
            st.caption("Give a price, a pace, or both.")
            return
        st.dataframe(table(rows, price, pace), hide_index=True, width="stretch")
        st.caption(
            "Saved labels are estimates with the intervals above; “at least” where the control never catches up, "
            "“leaning” where the gain is not decided."
        )


def table(rows: list[dict[str, object]], price: float | None, pace: float | None) -> pd.DataFrame:
    """One row an arm and share: labels saved, whether exactly or at least, and their money and hours."""
    bounds = {"exact": "about", "at_least": "at least"}
    return pd.DataFrame([
        {"Arm": row["title"], "Labels given": row["n_train"],
         "": bounds.get(str(row["bound"]), "") + ("" if row.get("sure") else ", leaning"),
         "Labels saved": round(saved)}
        | {key.capitalize(): round(value, 2) for key, value in worth(saved, price, pace).items()}
        for row in rows
        for saved in [float(str(row["labels_saved"]))]
    ])  # fmt: skip
