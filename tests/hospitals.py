"""Two hospitals with columns of other names, a source that learnt from the first, and a study on the second."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sklearn.datasets import load_breast_cancer

from tltools import datasets, studies
from tltools.engine import study as engine
from tltools.home import Home, open_home
from tltools.records import Dataset, Study
from tltools.store import open_store
from tltools.tickets import QuietTicket

NET = "bundled/table-net"
SHORT = {"epochs": 12, "min_steps": 150, "patience": 0}
RENAMED = {  # column of the second hospital -> of the first
    "radius_avg": "mean radius", "Mean Texture": "mean texture", "perimeter (mean)": "mean perimeter",
    "smoothness": "mean smoothness", "dents": "mean concave points", "WorstArea": "worst area",
}  # fmt: skip


@dataclass
class Hospitals:
    home: Home
    first: Dataset
    second: Dataset
    source: str  # own/<trial on the first>
    study: Study  # on the second
    trials: dict[str, str]  # by strategy, at the largest share of the labels


def make(folder: Path) -> Hospitals:
    """Breast cancer (scikit-learn) as two hospitals: the second renames its columns, and has one that is its own."""
    home = open_home(folder / "home")
    whole = load_breast_cancer(as_frame=True)
    table = whole.frame.assign(diagnosis=[str(whole.target_names[code]) for code in whole.target]).drop(
        columns="target"
    )
    mixed = table.sample(frac=1, random_state=0)
    first, second = mixed.iloc[:330], mixed.iloc[330:]
    first[[*RENAMED.values(), "diagnosis"]].to_csv(folder / "first.csv", index=False)
    theirs = second[[*RENAMED.values(), "diagnosis"]].rename(columns={its: name for name, its in RENAMED.items()})
    theirs.insert(0, "ward", [["north", "south"][k % 3 // 2] for k in range(len(theirs))])
    theirs.to_csv(folder / "second.csv", index=False, sep=";")
    made = datasets.add(home, folder / "first.csv", target="diagnosis")
    taught = run(home, dataset=made.id, sources=(NET,), strategies=({"full_finetune": SHORT},), controls=())
    source = f"own/{taught['full_finetune']}"
    other = datasets.add(home, folder / "second.csv", target="diagnosis")
    study = Study(dataset=other.id, sources=(source,), per_class=(4, 30), draws=2,
                  strategies=("linear_probe", {"full_finetune": SHORT}, "boosted_continuation"),
                  controls=("random_frozen", "classical"))  # fmt: skip
    return Hospitals(home, made, other, source, study, run(home, study))


def run(home: Home, study: Study | None = None, **fields: Any) -> dict[str, str]:
    study = study or Study(fractions=(1.0,), draws=2, **fields)
    errors = [problem for problem in studies.check(home, study) if problem.severity == "error"]
    assert not errors, errors
    engine.run_one(QuietTicket(home, open_store(home)), studies.save(home, study))
    found = sorted(studies.expand(home, study), key=lambda trial: (-trial.draw, trial.per_class or 0))
    return {trial.strategy: trial.id for trial in found}
