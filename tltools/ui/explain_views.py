"""Why a row was judged so: where the model looked, the nearest training rows, what its backbone forgot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tltools.home import Home
from tltools.records import Dataset
from tltools.store import Store


def why(home: Home, store: Store, dataset: Dataset, trial: str, arm: Mapping[str, Any], rows: Sequence[int]) -> None:
    """Asks the worker for explanations of some rows, and shows them."""
