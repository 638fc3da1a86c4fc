"""What a paper needs of a judged study: what was compared, how it was judged, what came out, and what to cite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tltools import __version__
from tltools.records import Report
from tltools.reports import words
from tltools.tasks import judged_by

Row = dict[str, Any]

SOURCES = {  # of the formulas, as docs/statistics.md names them
    "crossed": "Satterthwaite 1946",
    "draws": "Smyth 2004",
    "folds": "Nadeau and Bengio 2003",
    "best": "Berger 1982",
    "together": "Holm 1979",
}


def paragraph(report: Report) -> str:
    """Methods and results in words that can stand in a paper as they are."""
    metric, arms = judged_by(report), report.arms
    transfer, controls = (_names([row for row in arms if row["kind"] == kind]) for kind in ("transfer", "control"))
    if not report.verdicts or not transfer:
        return ""
    counts = sorted({row["n_train"] for row in report.verdicts})
    at = f"{_listed([f'{count:,}' for count in counts])} labels"
    rows = sum(report.rows.values()) if report.folds else report.rows["test"]
    if report.folds:
        how = (
            f"All were trained and tested on the same folds of {words.tested_by(report.folds)} of {rows:,} rows; "
            f"intervals are the correlated t of the folds ({SOURCES['folds']})"
        )
    else:
        how = (
            f"All had {_draws(report.verdicts)}, with {at}, and were scored on the same {rows:,} held-out rows; "
            + _intervals(report.verdicts)
        )
    told = " ".join(_results(count, report) for count in reversed(counts))
    many = len(report.verdicts)
    together = f"; all {many} verdicts hold together at a family-wise error of 5 % ({SOURCES['together']})"
    return (
        f"On {report.name} we compared {_listed(transfer)} with {_listed(controls)} by {metric.title}. {how}. Gains "
        f"are over the best control ({SOURCES['best']}); gains within {words.amount(report.margin, metric)} count as "
        f"no difference{together if many > 1 else ''}. {told} Computed with tltools {_version(report)}, "
        f"study {report.study}."
    )


def bibtex(report: Report) -> str:
    """The entry that cites the tool, in the version that made the report."""
    year = f"  year = {{{report.created.year}}},\n" if report.created else ""
    return (
        "@software{tltools,\n  title = {tltools: does transfer learning help here, by how much, and is it real?},\n"
        f"  author = {{{{The tltools authors}}}},\n  version = {{{_version(report)}}},\n{year}}}"
    )


def _names(rows: Sequence[Row]) -> list[str]:
    """How the arms are called in a sentence, each once; the source's id beside a name, since names are no addresses."""
    found: dict[str, None] = {}
    for row in sorted(rows, key=lambda row: str(row["title"])):
        source = "" if row["source"] == "none" or row["source"] in row["title"] else f" ({row['source']})"
        found[words.inside(row["title"]) + source] = None
    return list(found)


def _results(labels: int, report: Report) -> str:
    """The verdicts at a number of labels as one sentence, the largest gain first."""
    metric, told = judged_by(report), []
    for row in sorted(report.verdicts, key=lambda row: -float(row["gain"])):
        if row["n_train"] == labels:
            sign = "+" if row["gain"] >= 0 else "−"
            told.append(
                f"{words.inside(row['title'])} {sign}{words.amount(row['gain'], metric)} over "
                f"{words.inside(row['against_title'])} ({words.span(row['low'], row['high'], metric)}; "
                f"{words.WORDS[row['verdict']]})"
            )
    return f"Gains with {labels:,} labels: {'; '.join(told)}."


def _draws(verdicts: Sequence[Row]) -> str:
    """The random draws that the comparisons rest on; a study that was cut short has fewer of some."""
    fewest, most = min(row["draws"] for row in verdicts), max(row["draws"] for row in verdicts)
    if most == 1:
        return "one random draw of the training labels"
    return f"the same {most if fewest == most else f'{fewest} to {most}'} random draws of the training labels"


def _intervals(verdicts: Sequence[Row]) -> str:
    if max(row["draws"] for row in verdicts) == 1:
        return "intervals are of that draw alone"
    together = any("draws together" in row["method"] for row in verdicts)
    learnt = f", how much draws differ being learnt from all comparisons together ({SOURCES['draws']})"
    crossed = f"intervals take draws and test rows as crossed random effects ({SOURCES['crossed']}"
    return f"{crossed}){learnt if together else ''}"


def _version(report: Report) -> str:
    return report.environment.get("tltools", __version__)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "nothing"
