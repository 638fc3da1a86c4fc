"""Words and numbers as people read them: one place for points, times, sizes, verdict words, and one `esc`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from tltools.records import Job
from tltools.tasks import Metric

# what begins a link, a picture, HTML, code, formulas or emphasis; at the start of a text also headings, lists, quotes
_MARKDOWN = re.compile(r"[\\`*\[\]<~$]|&(?=#?\w+;)|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|^[#>+-]|(?<=^\d)[.)]")
_DIRECTIVE = re.compile(r":(?=[\w+-])")  # of Streamlit: a colour, an icon, an emoji; a backslash does not stop them


@dataclass(frozen=True)
class Look:
    """How a verdict is shown: never by colour alone."""

    word: str
    mark: str
    colour: str  # a colour name of the theme


VERDICTS: dict[str, Look] = {
    "positive": Look("positive", "▲", "green"),
    "leaning_positive": Look("leaning positive", "△", "green"),
    "neutral": Look("neutral", "●", "gray"),
    "not_enough_evidence": Look("not enough evidence", "?", "gray"),
    "leaning_negative": Look("leaning negative", "▽", "orange"),
    "negative": Look("negative", "▼", "orange"),
}
STATES: dict[str, tuple[str, str, str]] = {  # state -> (word, icon, colour)
    "queued": ("waiting", ":material/schedule:", "gray"),
    "running": ("running", ":material/progress_activity:", "primary"),
    "done": ("done", ":material/check_circle:", "green"),
    "failed": ("failed", ":material/error:", "orange"),
    "cancelled": ("cancelled", ":material/cancel:", "gray"),
}


def esc(text: object) -> str:
    """User-made text for a place that renders Markdown: shown as it is, without images, icons, colours or links behind
    other words."""
    return _DIRECTIVE.sub("&#58;", _MARKDOWN.sub(r"\\\g<0>", " ".join(str(text).split())))


def short(text: object, most: int = 60) -> str:
    """At most so many characters, with an ellipsis."""
    said = " ".join(str(text).split())
    return said if len(said) <= most else said[: most - 1].rstrip() + "…"


def minus(text: str) -> str:
    """A real minus sign before numbers."""
    return re.sub(r"(?<![\w])-(?=[\d.])", "−", text)


def gain(value: float, metric: Metric) -> str:
    """A difference with its sign: "+11.7 points", "−0.31"."""
    if metric.unit == "share":
        return minus(f"{100 * value:+.1f} points") if abs(value) >= 0.0005 else "0.0 points"
    return minus(f"{value:+.3g}")


def score(value: float | None, metric: Metric) -> str:
    """A score: "84.0 %", "2.31"."""
    if value is None:
        return "–"
    return minus(f"{100 * value:.1f} %" if metric.per_cent else f"{value:.3g}")


def titled(metric: Metric) -> str:
    """A metric over numbers that `scale` has made: "Accuracy (%)"."""
    return f"{metric.title} (%)" if metric.per_cent else metric.title


def scale(metric: Metric) -> float:
    """By what a score is multiplied where `titled` stands over it."""
    return 100.0 if metric.per_cent else 1.0


def duration(seconds: float | None) -> str:
    """Seconds as people say them: "4 s", "2 min 41 s", "3 h 5 min"."""
    if seconds is None:
        return "not known"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def about(seconds: float | None) -> str:
    """A time that is only estimated, without false digits."""
    if seconds is None:
        return "not known yet"
    if seconds < 90:
        return f"{max(5, round(seconds / 5) * 5)} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def size(count: float | None) -> str:
    """Bytes: "90 MB"."""
    if count is None:
        return "not known"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count:.0f} bytes"


def parameters(count: int | None) -> str:
    """Parameters of a network: "22.7 M"."""
    if count is None:
        return "size set by the data"
    if count >= 1e6:
        return f"{count / 1e6:.1f} M parameters"
    return f"{count / 1e3:.0f} k parameters" if count >= 1e3 else f"{count} parameters"


def ago(moment: datetime | None) -> str:
    """How long ago, roughly."""
    if moment is None:
        return ""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def verdict_badge(word: str) -> str:
    """A verdict as a Markdown badge: mark, word and colour."""
    look = VERDICTS[word]
    return f":{look.colour}-badge[{look.mark} {look.word}]"


def state_badge(job: Job) -> str:
    """A job's state as a Markdown badge; a running job that was asked to stop says so."""
    word, icon, colour = STATES[job.state]
    if job.state == "running" and job.cancel_asked:
        word, colour = "stopping", "gray"
    return f":{colour}-badge[{icon} {word}]"


def labels(row: dict[str, object]) -> str:
    """How many labels a row of a report stands for."""
    return f"{row['n_train']:,} labels"


def counted(count: int, one: str, many: str) -> str:
    """A number with what is counted: "1 row", "1,200 rows"."""
    return f"{count:,} {one if count == 1 else many}"


def label_names(cell: str) -> str:
    """A stored cell of several labels as people read it."""
    return cell.replace("|", ", ") or "no label"


def brief(titles: dict[str, str]) -> dict[str, str]:
    """Arm titles without " of <source>" where all transfer arms share one source; source by title comes in."""
    named = {source for source in titles.values() if source != "none"}
    if len(named) != 1:
        return {title: title for title in titles}
    return {title: title.rsplit(" of ", 1)[0] if source != "none" else title for title, source in titles.items()}
