"""What a paper can quote of a report: every number in it stands in the report, and it says how they were judged."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.test_fold_reports import judged as in_folds
from tests.test_reports import make, people, study_of
from tltools import __version__, reports
from tltools.home import Home
from tltools.reports import quoting, words
from tltools.store import open_store
from tltools.tasks import judged_by


def test_the_paragraph_has_what_was_compared_and_every_verdict(home: Home, tmp_path: Path) -> None:
    dataset = people(home, tmp_path)
    report = reports.judge(home, open_store(home), make(home, dataset, study_of(dataset, fractions=(0.25, 1.0))))
    said, metric = quoting.paragraph(report), judged_by(report)
    for part in (
        "On People we compared Full fine-tuning of MiniLM-L6 (bundled/minilm-l6) and Linear probe of MiniLM-L6 (bund",
        "by Balanced accuracy. All had the same 4 random draws of the training labels",
        f"the same {report.rows['test']:,} held-out rows", "all 4 verdicts hold together", report.study,
    ):  # fmt: skip
        assert part in said
    for row in report.verdicts:
        span = words.span(row["low"], row["high"], metric)
        assert (
            f"{words.amount(row['gain'], metric)} over" in said and f"({span}; {words.WORDS[row['verdict']]})" in said
        )
    best = max((row for row in report.verdicts if row["n_train"] == max(r["n_train"] for r in report.verdicts)),
               key=lambda row: row["gain"])  # fmt: skip
    first = said.index(f"Gains with {best['n_train']:,} labels: {best['title']} ")
    assert first == said.index("Gains with "), "the most labels and the largest gain come first"
    page = reports.html(report)
    assert said in page and "@software{tltools" in page


def test_one_draw_and_no_verdict_are_not_dressed_up(home: Home, tmp_path: Path) -> None:
    dataset, store = people(home, tmp_path), open_store(home)
    alone = reports.judge(home, store, make(home, dataset, study_of(dataset, draws=1, fractions=(1.0,))))
    said = quoting.paragraph(alone)
    assert "All had one random draw of the training labels" in said and "intervals are of that draw alone" in said
    assert "positive" not in said and "not enough evidence" in said
    nothing = reports.judge(home, store, make(home, dataset, study_of(dataset, controls=(), fractions=(1.0,))))
    assert quoting.paragraph(nothing) == "" and "For a paper" not in reports.html(nothing)


def test_folds_are_told_as_folds(home: Home, tmp_path: Path) -> None:
    said = quoting.paragraph(in_folds(home, people(home, tmp_path, rows=150)))
    assert "on the same folds of 2 × 3-fold cross-validation of 150 rows" in said and "Nadeau" in said
    assert "random draws" not in said


def test_what_is_to_be_cited_is_this_version(home: Home, tmp_path: Path) -> None:
    dataset = people(home, tmp_path)
    report = reports.judge(home, open_store(home), make(home, dataset, study_of(dataset, fractions=(1.0,))))
    entry = quoting.bibtex(report)
    assert f"version = {{{__version__}}}" in entry and entry.count("{") == entry.count("}")
    cited = yaml.safe_load((Path(__file__).resolve().parents[1] / "CITATION.cff").read_text())
    assert cited["version"] == __version__
