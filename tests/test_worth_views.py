"""Saved labels in money and hours: asked for, multiplied, and silent where nothing can be told."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest


def screen(saved: float | None) -> None:
    from types import SimpleNamespace

    from tltools.ui import worth_views

    row = {"title": "Linear probe", "n_train": 100, "bound": "exact", "labels_saved": saved, "sure": True}
    worth_views.asked(SimpleNamespace(labels_saved=(row,)))  # type: ignore[arg-type]


def test_a_price_and_a_pace_give_money_and_hours() -> None:
    at = AppTest.from_function(screen, args=(240.0,)).run()
    assert not at.exception and not at.dataframe and "Give a price" in at.caption[0].value
    at.number_input(key="label_price").set_value(0.5).run()
    (row,) = at.dataframe[0].value.to_dict("records")
    assert row["Labels saved"] == 240 and row["Money"] == 120.0 and "Hours" not in row and row[""] == "about"
    at.number_input(key="label_pace").set_value(48.0).run()
    assert at.dataframe[0].value["Hours"].tolist() == [5.0]


def test_nothing_is_asked_where_no_labels_can_be_told() -> None:
    at = AppTest.from_function(screen, args=(None,)).run()
    assert not at.exception and not at.number_input
