"""What this installation has learnt of source models before a run: rankings, earlier verdicts, and how well the
rankings held."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tltools import studies
from tltools.judging import ranking
from tltools.records import Dataset, Problem, Refusal, Report, Study
from tltools.store import Store

Row = Mapping[str, Any]

KEPT = ("loo_ridge", "knn", "logme", "h_score")  # the scores that are combined, each on two sets of features
HARM = {"negative", "leaning_negative"}


@dataclass(frozen=True)
class Track:
    """How well rankings ordered sources as training did, on this installation."""

    tau: float  # weighted Kendall's tau, mean over the datasets: 1 = the same order, 0 = none
    low: float  # 90 % interval over datasets
    high: float
    datasets: int  # with at least two sources that were both ranked and trained

    def sentence(self) -> str:
        few = " One dataset says little." if self.datasets == 1 else ""
        number = "1 dataset" if self.datasets == 1 else f"{self.datasets} datasets"
        return (
            f"How well rankings held here: they ordered sources as training did with a Kendall tau of {self.tau:.2f} "
            f"(90 % interval {self.low:.2f} to {self.high:.2f}, {number}; 1 is the same order, 0 none).{few}"
        ).replace("-", "−")


def rankings(store: Store, dataset_id: str) -> dict[str, Row]:
    """What the last ranking of a dataset said, by source."""
    found = [fact for fact in store.memories("ranking") if fact.get("dataset") == dataset_id]
    return {str(row["source"]): row for row in found}


def tables(rows: Sequence[Row]) -> dict[str, list[float]]:
    """The scores that are combined, each over all rows; nan where a row lacks one."""
    names = [name + suffix for name in KEPT for suffix in ("", "_layers")]
    table = {name: [math.nan if row.get(name) is None else float(row[name]) for row in rows] for name in names}
    return {name: values for name, values in table.items() if not all(map(math.isnan, values))}


def agreement(rows: Sequence[Row]) -> float:
    """Mean Kendall tau between the scores of ranked sources; nan for fewer than two."""
    return ranking.agreement(tables([row for row in rows if "problem" not in row]))


def keep_outcome(store: Store, report: Report, dataset: Dataset, at: str) -> None:
    """Remembers what the best transfer arm of each trained source came to at the most labels of a judged study; at:
    when its last trial was sealed (ISO 8601), so that an older study that is judged again stays the older one."""
    verdicts = [row for row in report.verdicts if not row.get("untrained")]
    most = max((row["n_train"] for row in verdicts), default=0)
    for source in dict.fromkeys(row["source"] for row in verdicts):
        rows = [row for row in verdicts if row["source"] == source and row["n_train"] == most]
        if rows:
            best = max(rows, key=lambda row: float(row["gain"]))
            keys = ("source", "strategy", "title", "n_train", "gain", "low", "high", "verdict", "against_title")
            about = {"dataset": dataset.id, "metric": report.metric, "study": report.study, "at": at}
            store.remember("realised", f"{report.study}|{source}", {key: best[key] for key in keys} | about)


def track(store: Store) -> Track | None:
    """How rankings held against realised gains, by the last study of each dataset that had two ranked sources or more;
    None where there is none. Gains of different studies are not compared: metric, labels and controls may differ."""
    ranks = {(row["dataset"], row["source"]): row.get("mean_rank") for row in store.memories("ranking")}
    pairs: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for row in sorted(store.memories("realised"), key=lambda row: str(row["at"])):
        if (rank := ranks.get((row["dataset"], row["source"]))) is not None:
            pairs[row["dataset"]][row["study"]].append((-float(rank), float(row["gain"])))
    history = []
    for judged in pairs.values():
        columns = [([place for place, _ in study], [gain for _, gain in study]) for study in judged.values()]
        # a tie of all orders nothing
        history += [both for both in columns if not math.isnan(ranking.weighted_tau(*both))][-1:]
    tau, low, high = ranking.track_record(history)
    return None if math.isnan(tau) else Track(tau, low, high, len(history))


def warnings(store: Store, dataset_id: str, planned: str = "") -> dict[str, tuple[str, ...]]:
    """Sentences by source where the evidence speaks of negative transfer before a run: the ranking held the source's
    features against the classical control, or an earlier study of this dataset found harm.

    planned: the id of the study that is to be run; what it found itself is its verdict, and no warning of it.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for source, row in rankings(store, dataset_id).items():
        found[source] += row.get("doubts") or ()
    of_these = [row for row in store.memories("realised") if row["dataset"] == dataset_id]
    of_these.sort(key=lambda row: str(row["at"]))
    for row in {row["source"]: row for row in of_these}.values():  # the last study with each
        if row["verdict"] in HARM and row["study"] != planned:
            sure = "was worse" if row["verdict"] == "negative" else "was probably worse"
            found[row["source"]].append(
                f"Negative transfer before: in an earlier study of yours on these rows{_named(store, row)}, its best "
                f"strategy, {row['title']}, {sure} than the best control, {row['against_title']}, with "
                f"{row['n_train']:,} labels."
            )
    return {source: tuple(said) for source, said in found.items() if said}


def _named(store: Store, row: Row) -> str:
    """The name of the study behind an outcome, and the day of its last trial."""
    with suppress(Refusal):  # of a study that was removed
        if name := studies.load(store.home, str(row["study"])).name:
            return f" (“{name}”, {str(row['at'])[:10]})"
    return f" ({str(row['at'])[:10]})"


def doubts(store: Store, study: Study) -> list[Problem]:
    """The warnings of a study's sources, as problems that keep nothing from running."""
    known = warnings(store, study.dataset, studies.study_id(study))
    remedy = "Keep the classical control, and read the verdict with this in mind."
    return [
        Problem(severity="warning", where=f"source {source}", what=what, remedy=remedy)
        for source in study.sources
        for what in known.get(source, ())
    ]
