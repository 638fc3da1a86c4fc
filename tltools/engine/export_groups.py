"""The lines of an exported script that decide by thresholds per group, and what of them they look up."""

from __future__ import annotations

from typing import Any

from tltools import datasets
from tltools.engine.trial_model import TrialModel
from tltools.judging import fairness, thresholds
from tltools.modalities import modalities
from tltools.records import refuse

Facts = dict[str, Any]

READ = """\
groups, cells = cells[facts["thresholds"]["columns"]].copy(), cells[facts["inputs"]].copy()
"""
AS_NUMBERS = """\
for name in facts["thresholds"]["numbers"]:
    groups[name] = numbers(groups[name], mark)
"""

GROUP = """\
def group(name):  # the group of each row by a column: a number is of the span that holds it, or is nearest to it
    column = groups[name]
    if spans := facts["thresholds"]["spans"].get(name):
        edges = spans["edges"]
        inside = pd.to_numeric(column, errors="coerce").clip(edges[0], edges[-1])
        column = pd.cut(inside, edges, labels=spans["names"], include_lowest=True)
    elif column.dtype == float:
        column = column.map("{:.12g}".format, na_action="ignore")
    column = column.astype(object)
    return column.where(column.notna() & (column != ""), "missing").astype(str)
"""

SHIFTED = """\
shifts = facts["thresholds"]["shifts"]  # what is added to the logarithms of a group's probabilities; "" are the others
shift = torch.tensor([shifts.get(name, shifts[""]) for name in {{names}}])
scores = (torch.tensor(scores).double().clamp(1e-12).log() + shift).softmax(1).float().numpy()
"""
ONE = 'group(facts["thresholds"]["columns"][0])'
SEVERAL = "together"
TOGETHER = """\
columns = facts["thresholds"]["columns"]
rows = zip(*map(group, columns))
together = [", ".join(f"{name}={value}" for name, value in zip(columns, row)) for row in rows]
"""


def facts(model: TrialModel) -> Facts:
    """What the lines look up in `preprocessing.json`; nothing for a trial that minds no groups.

    Raises:
        Refusal: the rows are files, which do not name their group.
    """
    named = thresholds.columns(model.card)
    if not named:
        return {}
    if files := modalities()[model.dataset.modality].files:
        what = f"has thresholds per group, and {files.many} alone do not name theirs ({', '.join(named)})."
        remedy = "Use `tltools predict` on a folder whose table names them, or export another arm of the study."
        raise refuse(f"trial {model.trial.id}", what, remedy)
    known, table = model.card["thresholds"], datasets.rows(model.home, model.dataset.id, *named)
    spans = {name: {"edges": cut, "names": fairness.spans(cut)} for name, cut in known["edges"].items()}
    numbers = [name for name in named if table[name].dtype == float]
    read = list(dict.fromkeys([*model.dataset.inputs, *named]))
    kept = {"columns": named, "numbers": numbers, "spans": spans, "shifts": known["shifts"]}
    return {"read": read, "thresholds": kept}


def given(facts: Facts) -> str:
    """The lines that part the cells that name groups from those that the model reads."""
    return READ + (AS_NUMBERS if facts["thresholds"]["numbers"] else "")


def steps(facts: Facts) -> list[str]:
    """The lines that move the scores of each row by the thresholds of its group."""
    if len(facts["thresholds"]["columns"]) == 1:
        return [GROUP, SHIFTED.replace("{{names}}", ONE)]
    return [GROUP, TOGETHER + SHIFTED.replace("{{names}}", SEVERAL)]
