"""A trial's card, and the model card in Markdown that goes into every export."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tltools import row_sizes
from tltools.artifacts import sealed
from tltools.home import Home
from tltools.judging import thresholds
from tltools.records import Report, Source, refuse
from tltools.reports import words
from tltools.reports.groups import arm_of, how
from tltools.tasks import Metric, judged_by, tasks


def trial_card(home: Home, trial_id: str) -> dict[str, Any] | None:
    """The card of a sealed trial, or None when it is not sealed."""
    folder = home.trials / trial_id
    if not re.fullmatch(r"[0-9a-f]{16}", trial_id) or not sealed(folder):
        return None
    card: dict[str, Any] = json.loads((folder / "card.json").read_text())
    return card


def export_card(report: Report, trial_id: str) -> str:
    """The model card of one trial of a judged study, in Markdown: the same facts as the report.

    Raises:
        Refusal: the report does not speak of this trial.
    """
    arm = next((row for row in report.arms if trial_id in row.get("trials", ())), None)
    if arm is None:
        raise refuse(
            f"trial {trial_id[:40]}", f"is not in the report of study {report.study}.", "Judge the study again."
        )
    metric = judged_by(report)
    verdict = next((row for row in report.verdicts if _same(row, arm)), None)
    parts = [f"# {arm['title']}, {arm['n_train']:,} labels", _what(report, arm, metric)]
    parts.append("## Did transfer help?\n\n" + (words.told(verdict, metric) if verdict else "This arm is a control."))
    if verdict and verdict["needed"]:
        parts[-1] += " " + verdict["needed"]
    where = "the rows that each fold tests" if report.folds else "the test part"
    parts.append(f"## Scores on {where}\n\n" + _scores(report, arm, metric))
    if own := [row for row in report.groups if arm_of(report, row) is arm]:
        parts.append("## Groups\n\n" + f"{_groups(own)}\n\n{how(report)}".strip())
    parts.append("## Risks\n\n" + _risks(report, arm))
    parts.append("## How to reproduce\n\n```yaml\n" + report.study_file.strip() + "\n```\n\n" + _environment(report))
    return "\n\n".join(parts) + "\n"


def card_facts(card: Mapping[str, Any]) -> str:
    """What a sealed trial's own card says of the exported model, as a section of its model card in Markdown."""
    trial, source, task = card["trial"], card["source"], tasks()[card["task"]]
    choice = "" if task.objects else "any of " if task.several else "one of "
    said = f": {choice}{_listed(card['classes'])}" if card["classes"] else ""
    groups = thresholds.columns(card)
    minds = f", and which group a row belongs to, for its threshold, from {_listed(groups)}" if groups else ""
    lines = [
        f"It says {_code(card['target'])}{said}; it reads {_listed(card['inputs'])}{minds}.",
        f"Made for rows like those of the dataset **{card['dataset']['name']}**. What it is to be used for, and for "
        "what not, is not known here: add it before others use it.",
        f"Trial `{trial['id']}`, draw {trial['draw'] + 1}, of {card['created'][:10]}: learned from "
        f"{card['n_train']:,} rows. Its own scores on the rows kept for testing: {_own_scores(card)}.",
    ]
    if source:
        card_of = Source.model_validate(source)
        texts = card_of.reads == "text" and not task.written
        most = f" It reads {row_sizes.limits(card_of, task)[0]} tokens at most." if texts else ""
        lines.append(
            f"Source model {card_of.name} (`{card_of.id}`), pre-trained on: {card_of.pretraining}. Licence: "
            f"{card_of.licence}. Known bias: {card_of.bias}{most}"
        )
    return "## The model in this folder\n\n" + "\n".join(f"- {' '.join(line.split())}" for line in lines)


def _own_scores(card: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{metric.title} {words.score(card['metrics'][metric.key], metric)}"
        for metric in tasks()[card["task"]].metrics
        if card["metrics"].get(metric.key) is not None
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(_code, names))


def _code(text: str) -> str:
    return "`" + " ".join(str(text).replace("`", "'").split()) + "`"


def _same(row: dict[str, Any], arm: dict[str, Any]) -> bool:
    return all(row.get(key) == arm.get(key) for key in ("source", "strategy", "knobs", "fraction", "per_class"))


def _what(report: Report, arm: dict[str, Any], metric: Metric) -> str:
    source = "no source model" if arm["source"] == "none" else f"source model `{arm['source']}`"
    return (
        f"Task: {report.task} on **{report.name}** ({words.rows_of(report)}). Strategy: "
        f"{arm['title']}, {source}. {arm['trainable_parameters']:,} trained parameters. Judged by "
        f"{metric.title}."
    )


def _scores(report: Report, arm: dict[str, Any], metric: Metric) -> str:
    lines = [
        f"- {metric.title}: {words.score(arm['score'], metric)} ({words.span(arm['low'], arm['high'], metric)}; "
        f"{arm['draws']} {'fold' if report.folds else 'draw'}{'' if arm['draws'] == 1 else 's'})"
    ]
    lines += [
        f"- {one.title}: {words.score(arm['metrics'][one.key], one)}"
        for one in tasks()[report.task].metrics
        if one.key in arm["metrics"] and one.key != metric.key
    ]
    if arm["ece"] is not None:
        lines.append(f"- Probabilities are off by {100 * arm['ece']:.1f} points on average (calibration error)")
    return "\n".join(lines)


def _groups(own: list[dict[str, Any]]) -> str:
    lines = ["| column | group | metric | value | 95 % interval | rows |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {_cell(row['column'])} | {_cell(row['group']) or row['kind']} | {_cell(row['metric'])} "
        f"| {_number(row['score'])} | {_number(row['low'])} to {_number(row['high'])} | {row['n']} |"
        for row in own
    ]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _risks(report: Report, arm: dict[str, Any]) -> str:
    told = [problem.sentence() for problem in report.problems] + words.over_fitted([arm])
    told.append("Scores hold for rows like the test rows; on other rows the model may be worse.")
    return "\n".join(f"- {' '.join(one.split())}" for one in told)


def _environment(report: Report) -> str:
    said = ", ".join(f"{key} {value}" for key, value in report.environment.items())
    return f"Run with `python -m tltools run study.yaml`. Study `{report.study}`. {said}".strip()
