"""The sentences of a report: plain words first, numbers with their intervals, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tltools.judging.curves import Advice
from tltools.records import Folds, Report
from tltools.tasks import Metric

Row = dict[str, Any]

WORDS = {
    "positive": "positive",
    "negative": "negative",
    "neutral": "neutral",
    "leaning_positive": "leaning positive",
    "leaning_negative": "leaning negative",
    "not_enough_evidence": "not enough evidence",
}
MARKS = {
    "positive": "▲",
    "negative": "▼",
    "neutral": "●",
    "leaning_positive": "△",
    "leaning_negative": "▽",
    "not_enough_evidence": "?",
}
MEANINGS = {
    "positive": "better than every control by more than the margin, with at least 95 % probability",
    "negative": "worse than the best control by more than the margin, with at least 95 % probability",
    "neutral": "no further from the best control than the margin, with at least 95 % probability",
    "leaning_positive": "probably better (80 % or more), not sure",
    "leaning_negative": "probably worse (80 % or more), not sure",
    "not_enough_evidence": "the data cannot tell; that is an answer, not a failure",
}
NOTHING = "Nothing was transferred: the source is untrained."
SURER = {"positive": 2, "leaning_positive": 1}  # these are spoken of before larger gains that are less sure
OVER_FIT = 0.05  # training score less validation score, from which over-fitting is named when its interval is above 0
OVER_CONFIDENT = 0.10  # expected calibration error from which probabilities are called not to be trusted


def tested_by(folds: Folds | None) -> str:
    """How a study tested, where it was not by a locked test part: "5 × 5-fold cross-validation"."""
    return f"{folds.repeats} × {folds.k}-fold cross-validation" if folds else ""


def rows_of(report: Report) -> str:
    """The rows of a study: how many are labelled, and how many tested, or how."""
    rows = report.rows
    if report.folds:
        return f"{sum(rows.values()):,} labelled rows, each tested once a repeat by {tested_by(report.folds)}"
    return f"{rows['train'] + rows['validation']:,} labelled rows to train on · {rows['test']:,} test rows"


def amount(value: float, metric: Metric) -> str:
    """A difference in words: points for shares, three digits otherwise."""
    if metric.unit == "share":
        return f"{abs(100 * value):.1f} points"
    return f"{abs(value):.3g}"


def score(value: float, metric: Metric) -> str:
    """A score in words."""
    return f"{100 * value:.1f} %" if metric.per_cent else f"{value:.3g}"


def probability(value: float) -> str:
    """A probability, from 0 to 1, in words: none is so sure that it is said as 0 or 100 %."""
    if not 0.001 <= value <= 0.999:
        return "> 99.9 %" if value > 0.5 else "< 0.1 %"
    return f"{100 * value:.0f} %" if 0.005 < value < 0.995 else f"{100 * value:.1f} %"


def span(low: float, high: float, metric: Metric) -> str:
    """An interval in words."""
    if metric.unit == "share":
        return f"95 % interval {100 * low:.1f} to {100 * high:.1f}".replace("-", "−")
    return f"95 % interval {low:.3g} to {high:.3g}".replace("-", "−")


def inside(title: str) -> str:
    """The title of an arm in the middle of a sentence: names keep their capital."""
    return "the " + title[4:] if title.startswith("The ") else title


def apart(row: Row, metric: Metric, control: str) -> str:
    """How far an arm is from a control, in words: "4.0 points above the best control"; errors are better or worse."""
    if amount(row["gain"], metric) == amount(0.0, metric):
        return f"level with {inside(control)}"
    if metric.higher_is_better:
        side = "above" if row["gain"] >= 0 else "below"
    else:
        side = "better than" if row["gain"] >= 0 else "worse than"
    return f"{amount(row['gain'], metric)} {side} {inside(control)}"


def leading(verdicts: Sequence[Row], labels: int | None = None) -> Row | None:
    """The verdict that a headline speaks of, at a number of labels (without: the most): the largest gain of the arms
    that help for sure, else of those that probably help, else of all; untrained sources come last."""
    labels = max((row["n_train"] for row in verdicts), default=0) if labels is None else labels
    here = [row for row in verdicts if row["n_train"] == labels]
    here = [row for row in here if not row.get("untrained")] or here
    return max(here, key=lambda row: (SURER.get(row["verdict"], 0), float(row["gain"])), default=None)


def headline(verdicts: Sequence[Row], arms: Sequence[Row], metric: Metric) -> str:
    """One sentence: did it help, by how much, how sure; at the largest number of labels."""
    if not verdicts:
        transfer = any(row["kind"] == "transfer" for row in arms)
        return (
            "No verdict yet: no arm and control share two finished draws."
            if transfer
            else "No verdict yet: no transfer arm has finished."
        )
    row = leading(verdicts)
    assert row is not None
    return told(row, metric)


def told(row: Row, metric: Metric) -> str:
    """One verdict as a sentence."""
    gain, interval = amount(row["gain"], metric), span(row["low"], row["high"], metric)
    interval += f" by {row['by']}" if row.get("by") else ""
    arm, control, labels = row["title"], inside(row["against_title"]), f"{row['n_train']:,} labels"
    if row.get("untrained"):
        return f"{NOTHING} With {labels}, {arm} is {apart(row, metric, 'the best control')}, {control} ({interval})."
    away = f"{apart(row, metric, 'the best control')}, {control} ({interval})"
    chance = "which may be chance" if row["draws"] > 1 else "in the one draw that there is"
    return {
        "positive": f"Transfer helps: with {labels}, {arm} beats the best control ({control}) by {gain} ({interval}).",
        "negative": f"Transfer hurts: with {labels}, {arm} is {away}.",
        "neutral": f"Transfer makes no difference that matters: with {labels}, {arm} is {away}.",
        "leaning_positive": f"Transfer probably helps, but it is not sure: with {labels}, {arm} is {away}.",
        "leaning_negative": f"Transfer probably hurts, but it is not sure: with {labels}, {arm} is {away}.",
        "not_enough_evidence": f"Not enough evidence: with {labels}, {arm} is {away}, {chance}.",
    }[row["verdict"]]


def sentences(
    verdicts: Sequence[Row],
    arms: Sequence[Row],
    saved: Sequence[Row],
    metric: Metric,
    margin: float,
    advice: tuple[str, Advice] | None,
    winner: tuple[float, float] | None,
    chance: float | None = None,
) -> list[str]:
    """What else a reader should know, most important first; chance: what a guess scores that reads no row."""
    counts = sorted({row["n_train"] for row in verdicts})
    found = _guesses(arms, counts[-1], metric, chance) if counts and chance is not None else []
    for labels in counts[:-1]:
        row = leading(verdicts, labels)
        if row is not None and row["verdict"] in {"positive", "negative"}:
            found.append(_short(row, metric))
    found += _negative(verdicts, metric)
    if counts:
        top = leading(verdicts)
        assert top is not None
        if top["needed"]:
            found.append(top["needed"])
        found += _larger(verdicts, top, metric)
        found += _together(arms, counts[-1], metric, beaten=top["verdict"] == "positive")
    if winner is not None and winner[0] - winner[1] > 0.2 * margin:
        seen, honest = (f"{'−' if gain < 0 else ''}{amount(gain, metric)}" for gain in winner)
        found.append(
            f"The best of several arms looks better than it is: without the luck of having been picked, its gain is "
            f"about {honest} rather than {seen}."
        )
    found += _saved(saved)
    if advice is not None:
        title, more = advice
        found.append(
            f"{more.more:,} more labels would be worth about {amount(more.gain, metric)} to {title} (95 % interval "
            f"{amount(max(more.low, 0.0), metric)} to {amount(more.high, metric)}), if its curve goes on as it does."
        )
    return found + over_fitted(arms) + _over_confident(arms)


def _guesses(arms: Sequence[Row], labels: int, metric: Metric, chance: float) -> list[str]:
    """That nothing was learnt, where no arm with so many labels is surely better than a guess."""
    here = [row for row in arms if row["n_train"] == labels]
    if any(row["low"] is None or row["low"] > chance for row in here):
        return []
    return [
        f"By {metric.title} nothing here is surely better than guessing, which scores {score(chance, metric)}: with "
        f"{labels:,} labels the 95 % interval of every arm, controls too, reaches down to it."
    ]


def _short(row: Row, metric: Metric) -> str:
    verb = "beats the best control" if row["verdict"] == "positive" else "is worse than the best control"
    return (
        f"With {row['n_train']:,} labels, {row['title']} {verb} ({row['against_title']}) by "
        f"{amount(row['gain'], metric)} ({span(row['low'], row['high'], metric)})."
    )


def _larger(verdicts: Sequence[Row], top: Row, metric: Metric) -> list[str]:
    """An arm whose gain is larger than that of the headline, but not as sure."""
    row = max((row for row in verdicts if row["n_train"] == top["n_train"]), key=lambda row: float(row["gain"]))
    if row["gain"] <= top["gain"]:
        return []
    away, interval = apart(row, metric, row["against_title"]), span(row["low"], row["high"], metric)
    return [f"{row['title']} may gain more ({away}, {interval}), but that is less sure. {row['needed']}".strip()]


def _negative(verdicts: Sequence[Row], metric: Metric) -> list[str]:
    worse = [row for row in verdicts if row["verdict"] == "negative" and not row.get("untrained")]
    worse.sort(key=lambda row: float(row["gain"]))
    if not worse:
        return []
    named = "; ".join(
        f"{row['title']} with {row['n_train']:,} labels ({apart(row, metric, row['against_title'])})"
        for row in worse[:4]
    )
    more = f"; and {len(worse) - 4} more" if len(worse) > 4 else ""
    return [f"Negative transfer: {named}{more}. Here the source does harm; use the control or another source."]


def _together(arms: Sequence[Row], labels: int, metric: Metric, *, beaten: bool) -> list[str]:
    """The best set at a number of labels, and the cheapest of it; `beaten`: without the controls, which the headline
    says an arm beats: the set is asked for more, and may still hold them."""
    best = [row for row in arms if row["n_train"] == labels and row["best_set"]]
    best = [row for row in best if row["kind"] == "transfer" or not beaten]
    if len(best) < 2:
        return []
    best.sort(key=lambda row: float(row["score"]), reverse=metric.higher_is_better)
    names = ", ".join(row["title"] for row in best[:6])
    timed = all(row["seconds"] is not None for row in best)
    cheap = min(best, key=lambda row: float(row["seconds"])) if timed else None
    tail = f" The quickest of them is {cheap['title']} ({cheap['seconds']:.3g} s a trial)." if cheap else ""
    return [f"With {labels:,} labels any of these may be the best: {names}.{tail}"]


def _saved(saved: Sequence[Row]) -> list[str]:
    exact = [row for row in saved if row["bound"] == "exact" and row["multiplier"] > 1]
    beyond = [row for row in saved if row["bound"] == "at_least" and row["multiplier"] > 1]
    found = []
    if exact:
        row = max(exact, key=lambda row: (row["sure"], float(row["labels_saved"])))
        worth, high = row["multiplier"] * row["n_train"], row["high"]
        top = f"to {high * row['n_train']:,.0f}" if high is not None else "or more"
        interval = f"95 % interval {row['low'] * row['n_train']:,.0f} {top}"
        found.append(
            f"{row['title']} with {row['n_train']:,} labels is worth about {worth:,.0f} labels of the best control "
            f"({interval})."
            if row["sure"]
            else f"{row['title']} with {row['n_train']:,} labels may be worth about {worth:,.0f} labels of the best "
            f"control ({interval}), but that it saves any is not decided."
        )
    if beyond:
        row = max(beyond, key=lambda row: (row["sure"], float(row["multiplier"])))
        worth = row["multiplier"] * row["n_train"]
        found.append(
            f"{row['title']} with {row['n_train']:,} labels is worth at least {worth:,.0f} labels of the best control: "
            f"it saves {row['labels_saved']:,.0f} or more."
            if row["sure"]
            else f"{row['title']} with {row['n_train']:,} labels leans to be worth {worth:,.0f} labels of the best "
            "control or more, but that it saves any is not decided."
        )
    harm = [row for row in saved if row["bound"] == "exact" and row["high"] is not None and row["high"] < 1]
    harm = [row for row in harm if row["sure"]]
    if harm:
        row = min(harm, key=lambda row: float(row["multiplier"]))
        worth = row["multiplier"] * row["n_train"]
        found.append(f"In labels, {row['title']} does harm: {row['n_train']:,} are worth only about {worth:,.0f}.")
    return found


def over_fitted(arms: Sequence[Row]) -> list[str]:
    """Names the transfer arms that know their training rows much better than others."""
    bad = [row for row in arms if row["train_gap"] and row["train_gap"][0] > OVER_FIT and row["train_gap"][1] > 0]
    bad = [row for row in bad if row["kind"] == "transfer"]
    if not bad:
        return []
    row = max(bad, key=lambda row: float(row["train_gap"][0]))
    mean, low, high = (100 * value for value in row["train_gap"])
    others = {1: "", 2: " 1 more arm does so too."}.get(len(bad), f" {len(bad) - 1} more arms do so too.")
    return [
        f"Over-fitting: {row['title']} with {row['n_train']:,} labels scores {mean:.0f} points higher on its training "
        f"rows than on validation rows (95 % interval {low:.0f} to {high:.0f}). Freeze more, stop earlier or add "
        f"labels.{others}"
    ]


def doubted(row: Row) -> bool:
    """Whether the probabilities of an arm are further off, on the test rows, than can be let pass or put to chance."""
    return (row["ece"] or 0) > OVER_CONFIDENT and row["ece"] > row["ece_by_chance"]


def _over_confident(arms: Sequence[Row]) -> list[str]:
    bad = [row for row in arms if row["kind"] == "transfer" and row["best_set"] and doubted(row)]
    if not bad:
        return []
    row = max(bad, key=lambda row: float(row["ece"]))
    return [
        f"Do not take the probabilities of {row['title']} with {row['n_train']:,} labels at their word: they are off "
        f"by {100 * row['ece']:.0f} points on average."
    ]
