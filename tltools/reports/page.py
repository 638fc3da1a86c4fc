"""The report as one HTML file for a reader who was not there: no script, no network, light and dark, printable."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from tltools.home import Home
from tltools.records import Dataset, Refusal, Report
from tltools.reports import charts, groups, markup, other_metrics, quoting, views, words, worst
from tltools.reports.markup import Row
from tltools.reports.style import STYLE
from tltools.tasks import Metric, judged_by, tasks


def html(report: Report, home: Home | None = None) -> str:
    """The whole report as one page; with the home that it was judged in also the worst pictures, where it has some."""
    metric = judged_by(report)
    title = escape(f"{report.name or report.study}: does transfer learning help?")
    sections = [
        _top(report, metric),
        _verdicts(report, metric),
        _labels(report, metric),
        _other_metrics(report),
        _arms(report, metric),
        _classes(report, home) if home else "",
        worst.section(home, report) if home else "",
        _cost(report, metric),
        _groups(report, metric),
        _ranking(report),
        _risks(report),
        _method(report, metric),
        _reproduce(report),
        _quote(report),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><main>{''.join(sections)}</main></body></html>"
    )


def _top(report: Report, metric: Metric) -> str:
    data = (
        f"{escape(report.name)} · {escape(report.task)} · "
        f"{words.rows_of(report)} · {escape(metric.title)} · margin {_margin(report, metric)}"
    )
    words_counted = {word: sum(row["verdict"] == word for row in report.verdicts) for word in words.WORDS}
    chips = " ".join(f"{markup.chip(word)} {count}" for word, count in words_counted.items() if count)
    told = "".join(f"<li>{escape(sentence)}</li>" for sentence in report.sentences)
    return (
        f'<p class="soft">{data}</p><h1>{escape(report.headline)}</h1><p>{chips}</p>'
        f"{f'<h2>What else to know</h2><ul>{told}</ul>' if told else ''}"
    )


def _margin(report: Report, metric: Metric) -> str:
    return words.amount(report.margin, metric)


def _by_labels(rows: Iterable[Row]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row["n_train"], []).append(row)
    return dict(sorted(found.items(), reverse=True))


def _verdicts(report: Report, metric: Metric) -> str:
    if not report.verdicts:
        return ""
    factor, unit = markup.factor(metric)
    parts = ["<h2>Did it help?</h2>"]
    for labels, rows in _by_labels(report.verdicts).items():
        rows = sorted(rows, key=lambda row: -float(row["gain"]))
        drawn = [row | {"mark": words.MARKS[row["verdict"]], "word": words.WORDS[row["verdict"]]} for row in rows]
        picture = charts.gains(drawn, report.margin, factor, f"gain over the best control, {unit} (band: the margin)")
        parts.append(f"<h3>With {labels:,} labels</h3><figure>{picture}</figure>")
        parts.append(
            markup.table(
                ["Arm", "Against", "Gain", "95 % interval", "P(better)", "P(same)", "P(worse)", "Verdict"],
                [
                    [
                        escape(row["title"]),
                        escape(row["against_title"]),
                        *markup.gain(row, metric),
                        *(escape(words.probability(row[key])) for key in ("p_better", "p_equivalent", "p_worse")),
                        markup.chip(row["verdict"])
                        + (f'<br><span class="soft">{escape(row["needed"])}</span>' if row["needed"] else ""),
                    ]
                    for row in rows
                ],
                numbers=(2, 3, 4, 5, 6),
            )
        )
    return "".join(parts)


def _labels(report: Report, metric: Metric) -> str:
    series: dict[str, Row] = {}
    for row in sorted(report.arms, key=lambda row: (row["kind"], row["title"], row["n_train"])):
        one = series.setdefault(row["title"], {"title": row["title"], "kind": row["kind"], "points": []})
        one["points"].append((row["n_train"], row["score"], row["low"], row["high"]))
    picture = charts.lines(list(series.values()), markup.shown(metric), metric.title)
    parts = [f"<h2>How many labels is it worth?</h2><figure>{picture}</figure>"]
    if report.labels_saved:
        parts.append(markup.table(
            ["Arm", "Labels used", "Worth", "95 % interval", "Labels saved", ""],
            [
                [escape(row["title"]), f"{row['n_train']:,}", *_worth(row), escape(row["because"])]
                for row in report.labels_saved
            ],
            numbers=(1, 2, 3, 4),
        ))  # fmt: skip
    return "".join(parts)


def _worth(row: Row) -> list[str]:
    n = row["n_train"]
    if row["bound"] == "refused":
        return [f"at most {row['at_most'] * n:,.0f}" if row["at_most"] else "–", "–", "–"]
    sign = "≥ " if row["bound"] == "at_least" else "≈ "
    high = f"{row['high'] * n:,.0f}" if row["high"] is not None else "open"
    return [
        f"{sign}{row['multiplier'] * n:,.0f}",
        f"{row['low'] * n:,.0f} to {high}",
        f"{sign}{row['labels_saved']:,.0f}",
    ]


def _other_metrics(report: Report) -> str:
    """What every other metric of the task says of the same comparisons."""
    metrics, lines = other_metrics.side_by_side(report)
    if not report.other_metrics:
        return ""
    cells = [
        [
            escape(row["title"]),
            f"{row['n_train']:,}",
            *(_by(one, metric) if one else "–" for one, metric in zip(told, metrics, strict=True)),
        ]
        for row, told in lines
    ]
    return f"<h2>By other metrics</h2><p>{escape(other_metrics.HOW)}</p>" + markup.table(
        ["Arm", "Labels", *(metric.title for metric in metrics)], cells, numbers=(1,)
    )


def _by(row: Row, metric: Metric) -> str:
    gain, interval = markup.gain(row, metric)
    return f'{markup.chip(row["verdict"])}<br><span class="soft">{gain} ({interval})</span>'


def _arms(report: Report, metric: Metric) -> str:
    return "<h2>All arms</h2>" + markup.table(
        [
            "Arm",
            "Kind",
            "Labels",
            metric.title,
            "95 % interval",
            "Folds" if report.folds else "Draws",
            "Seconds",
            "Trained parameters",
            "Best set",
        ],
        [
            [
                escape(row["title"]),
                row["kind"],
                f"{row['n_train']:,}",
                words.score(row["score"], metric),
                f"{words.score(row['low'], metric)} to {words.score(row['high'], metric)}".replace("-", "−"),
                f"{row['draws']}" if row["draws"] == row["draws_asked"] else f"{row['draws']} of {row['draws_asked']}",
                "–" if row["seconds"] is None else f"{row['seconds']:.3g}",
                f"{row['trainable_parameters']:,}",
                "✓" if row["best_set"] else "",
            ]
            for row in views.best_first(report)
        ],
        numbers=(2, 3, 4, 5, 6, 7),
    )


def _classes(report: Report, home: Home) -> str:
    """How well the best arm finds each class, where its task has a table of that and the trial is still there."""
    arm = worst.best_arm(report)
    if tasks()[report.task].by_class is None or arm is None:
        return ""
    try:
        trials = views.tested_by(home, report, arm)[0]
        table = views.per_cent(views.by_class(home, Dataset.model_validate(report.dataset), trials))
    except (Refusal, OSError):
        return ""
    rows = [[escape(str(first)), *map(markup.number, rest)] for first, *rest in table.itertuples(index=False)]
    first = "repeat" if len(trials) > 1 else "fold" if report.folds else "draw"
    title = f"<h2>Each class</h2><p>{escape(arm['title'])}, {arm['n_train']:,} labels, its first {first}.</p>"
    return title + markup.table([str(name) for name in table.columns], rows, numbers=range(1, table.shape[1]))


def _cost(report: Report, metric: Metric) -> str:
    if not report.arms:
        return ""
    factor = markup.shown(metric)
    most = max(row["n_train"] for row in report.arms)
    here = [row for row in report.arms if row["n_train"] == most]
    pictures = [
        charts.scatter([{**row, "x": row[key]} for row in here], factor, metric.title, across)
        for key, across in (("seconds", "seconds a trial"), ("trainable_parameters", "trained parameters"))
    ]
    names = {
        "estimated_seconds": ("Time estimated", "s"), "actual_seconds": ("Time taken", "s"),
        "estimated_peak_mb": ("Memory estimated", "MB"), "actual_peak_mb": ("Memory at most", "MB"),
        "prefix_rows_computed": ("Rows through frozen parts", ""),
        "prefix_rows_naive": ("The same, one trial at a time", ""),
    }  # fmt: skip
    cards = "".join(
        f"<div><span class='soft'>{name}</span><b>{report.cost[key]:,.0f} {unit}</b></div>"
        for key, (name, unit) in names.items()
        if report.cost.get(key) is not None
    )
    figures = "".join(f"<figure>{picture}</figure>" for picture in pictures if picture)
    return (
        f'<h2>What it cost</h2><div class="facts">{cards}</div><p>With {most:,} labels; hollow: controls. '
        f"{views.ALONE}</p>{figures}"
    )


def _groups(report: Report, metric: Metric) -> str:
    parts = [_of_column(report, metric, column) for column in dict.fromkeys(row["column"] for row in report.groups)]
    told = f"<p>{escape(groups.how(report))}</p>"
    return f"<h2>Groups of people</h2>{told}{''.join(parts)}" if parts else ""


def _of_column(report: Report, metric: Metric, column: str) -> str:
    """What fairness costs, each group's figures, and the largest differences between groups."""
    factor = markup.shown(metric)
    drawn = [row | {"x": 100 * row["gap"]} for row in groups.frontier(report, column)]
    across = "equalised odds difference, points (left: fairer)"
    picture = charts.scatter(drawn, factor, metric.title, across, log=False)
    lines = groups.side_by_side(report, column)
    names = list(dict.fromkeys(name for line in lines for name in line["metrics"]))
    wide = [
        [
            escape(line["group"]),
            escape(line["title"]),
            f"{line['n']:,}",
            *map(markup.rate, map(line["metrics"].get, names)),
        ]
        for line in lines
    ]
    gaps = [
        [
            escape(groups.title_of(report, row)),
            {"gap": "largest difference", "moved": "less that of the best control"}[row["kind"]],
            escape(row["metric"].replace("_", " ")),
            markup.rate((row["score"], row["low"], row["high"])),
            markup.chip(row["verdict"]) if row.get("verdict") else "",
        ]
        for row in report.groups
        if row["column"] == column and row["kind"] != "score"
    ]
    return (
        f"<h3>{escape(column)}</h3>{f'<figure>{picture}</figure>' if picture else ''}"
        + markup.table(
            ["Group", "Arm", "Rows", *(name.replace("_", " ") for name in names)], wide, range(2, 3 + len(names))
        )
        + (
            markup.table(["Arm", "What", "Metric", "Value (95 % interval)", "Wider?"], gaps, numbers=(3,))
            if gaps
            else ""
        )
    )


def _ranking(report: Report) -> str:
    if not report.ranking:
        return ""
    keys = ("loo_ridge", "knn", "logme", "h_score", "static", "rank")
    rows = [
        [escape(str(row["source"])), *("–" if row.get(key) is None else f"{row[key]:.3g}" for key in keys)]
        for row in report.ranking
    ]
    head = ["Source", "Leave-one-out ridge", "Neighbours", "LogME", "H-score", "Place by size", "Combined place"]
    said = [
        (row["source"], one)
        for row in report.ranking
        for one in (*(row.get("doubts") or ()), row.get("own_head"), row.get("apart"))
    ]
    notes = "".join(f"<li><b>{escape(source)}</b>: {escape(one)}</li>" for source, one in said if one)
    table = markup.table(head, rows, numbers=(1, 2, 3, 4, 5, 6))
    return "<h2>What the ranking said before training</h2>" + table + (f"<ul>{notes}</ul>" if notes else "")


def _risks(report: Report) -> str:
    told = [f"<li><b>{escape(p.where)}</b>: {escape(p.what)} {escape(p.remedy)}</li>" for p in report.problems]
    told.append("<li>Scores hold for rows like the test rows; on other rows a model may be worse.</li>")
    return f"<h2>Risks</h2><ul>{''.join(told)}</ul>"


def _method(report: Report, metric: Metric) -> str:
    meaning = "".join(f"<li>{markup.chip(word)} {escape(text)}</li>" for word, text in words.MEANINGS.items())
    if report.folds:
        how = (
            f"Arms were trained and tested on the same folds of {words.tested_by(report.folds)}, by "
            f"{escape(metric.title)}: each row is tested once a repeat, and no part is locked away. The interval is "
            "the correlated t, which counts that folds share their training rows."
        )
    else:
        how = (
            "Arms were compared on the same draws of the training labels and the same test rows, by "
            f"{escape(metric.title)}. The interval counts both another draw and other test rows."
        )
    return (
        f"<h2>How this was judged</h2><p>{how} Verdicts hold "
        "for all arms and numbers of labels together (Holm), against whichever control is best. A gain within "
        f"{_margin(report, metric)} is one that nobody cares about.</p><ul>{meaning}</ul>"
    )


def _reproduce(report: Report) -> str:
    made = report.created.strftime("%Y-%m-%d %H:%M UTC") if report.created else ""
    facts = ", ".join(f"{escape(key)} {escape(value)}" for key, value in report.environment.items())
    return (
        "<h2>How to reproduce</h2><p>Save as study.yaml, then run <code>python -m tltools run study.yaml</code>.</p>"
        f"<pre>{escape(report.study_file)}</pre><p class='soft'>Study {escape(report.study)} · {made} · {facts}</p>"
    )


def _quote(report: Report) -> str:
    said = quoting.paragraph(report)
    return f"<h2>For a paper</h2><p>{escape(said)}</p><pre>{escape(quoting.bibtex(report))}</pre>" if said else ""
