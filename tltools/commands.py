"""What each verb of the command line does: (exit code, JSON answer, lines for people)."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tltools import datasets, evidence, first_studies, pace, reports, sources, studies
from tltools.backends import local
from tltools.fits import Match
from tltools.home import Home, existing, write_bytes
from tltools.records import Job, Refusal, Report, Study, refuse
from tltools.reports import elsewhere, words
from tltools.store import Store, open_store
from tltools.tasks import Metric, judged_by

Answer = tuple[int, dict[str, Any], list[str]]
MARKS = {
    "positive": "▲ positive",
    "negative": "▼ negative",
    "neutral": "■ neutral",
    "leaning_positive": "△ leaning positive",
    "leaning_negative": "▽ leaning negative",
    "not_enough_evidence": "? not enough evidence",
}


def add(home: Home, options: Namespace) -> Answer:
    dataset = datasets.add(
        home,
        options.path,
        test=options.test,
        target=options.target,
        inputs=[name.strip() for name in options.inputs.split(",")] if options.inputs else None,
        task=options.task,
        name=options.name,
    )
    profile = datasets.profile(home, dataset.id)
    lines = [
        f"{dataset.id}  {dataset.name}: {dataset.rows} rows, {dataset.modality}, {dataset.task} of {dataset.target!r}",
        *profile.inference,
        *[f"{problem.severity}: {problem.sentence()}" for problem in profile.problems],
        *[f"skipped: {skipped.where}: {skipped.reason}" for skipped in profile.skipped[:20]],
    ]
    answer = {**dataset.model_dump(mode="json"), "profile": profile.model_dump(mode="json")}
    return 0, answer, lines


def plan(home: Home, options: Namespace) -> Answer:
    study = _read(home, options.study)
    problems = studies.check(home, study) + evidence.doubts(open_store(home), study)
    answer: dict[str, Any] = {"study": studies.study_id(study), "problems": [p.model_dump() for p in problems]}
    lines = [f"{problem.severity}: {problem.sentence()}" for problem in problems]
    if any(problem.severity == "error" for problem in problems):
        raise Refusal(*problems)
    if options.measure:
        code, failed, _ = through_job(home, "measure", {"study_file": studies.dump(study)}, "Measure", lambda _: [])
        if code:
            return code, failed, lines
    guess = studies.estimate(home, open_store(home), study)
    if guess.problems:
        raise Refusal(*problems, *guess.problems)
    answer["estimate"] = guess.model_dump(exclude={"problems"})
    answer["trials"] = [trial.model_dump(mode="json", exclude={"study"}) for trial in studies.expand(home, study)]
    dataset = datasets.get(home, study.dataset)
    for name in study.sources:
        cell = sources.fit(home, sources.get(home, name), dataset, changes=study.columns.get(name))
        if cell.columns:
            answer.setdefault("columns", {})[name] = [match.model_dump() for match in cell.columns]
            lines += [f"columns of {name}: {cell.why}", *columns(cell.columns)]
    lines += [
        f"{guess.trials} trials, {guess.sealed} of them finished already",
        f"about {duration(guess.seconds)} ({duration(guess.seconds_low)} to {duration(guess.seconds_high)}), "
        f"{guess.peak_mb / 1000:.1f} GB memory, {guess.cache_bytes / 1e6:.0f} MB cache",
        f"{guess.prefix_rows} rows through frozen prefixes; one trial at a time it would be {guess.prefix_rows_naive}",
        *guess.sentences,
    ]
    return 0, answer, lines


def run(home: Home, options: Namespace) -> Answer:
    study = _read(home, options.study)
    store = open_store(home)
    for problem in studies.check(home, study) + evidence.doubts(store, study):
        if problem.severity != "error":
            print(f"{problem.severity}: {problem.sentence()}", file=sys.stderr)
    job = studies.submit(home, store, study)
    return finished(home, store, job, studies.study_id(study))


def finished(home: Home, store: Store, job: Job, study_id: str) -> Answer:
    """Follows a study's job to its end and answers with its report."""
    done = follow(home, store, job)
    if done.state != "done":
        return _failed(done)
    found = reports.load(home, study_id)
    return 0, found.model_dump(mode="json"), table(found)


def report(home: Home, options: Namespace) -> Answer:
    studies.load(home, options.study)
    found = reports.load(home, options.study)
    if options.html:
        write_bytes(Path(options.html).resolve(), reports.html(found, home).encode())
    if options.predictions:
        write_bytes(Path(options.predictions).resolve(), elsewhere.written(home, found).to_csv(index=False).encode())
    return 0, found.model_dump(mode="json"), table(found)


def judge(home: Home, options: Namespace) -> Answer:
    file = existing(options.file)
    if file is None or not file.is_file():
        raise refuse(options.file, "is no file.", "Check the path.")
    runs = elsewhere.read(file, options.labels)
    found = elsewhere.judge(runs, options.control, options.margin, metric=options.metric, lower=options.lower)
    answer = found.answer
    lines = [answer["headline"], *answer["sentences"], ""]
    for row in sorted(answer["verdicts"], key=lambda row: (row["n_train"], -row["gain"])):
        lines.append(verdict_line(row, row["arm"], row["against"], found.metric))
    return 0, answer, lines


def predict(home: Home, options: Namespace) -> Answer:
    file = existing(options.file)
    if file is None:
        raise refuse(options.file, "does not exist.", "Check the path.")
    payload = {"trial": options.trial, "file": str(file.resolve()), "out": str(Path(options.out).resolve())}
    return through_job(
        home, "predict", payload, f"Predict {file.name}", lambda r: [f"{r['rows']} rows written to {r['out']}"]
    )


def export(home: Home, options: Namespace) -> Answer:
    payload = {"trial": options.trial, "to": str(Path(options.to).resolve())}

    def lines(result: dict[str, Any]) -> list[str]:
        replay = result["replay"]
        word = "agrees" if replay["agrees"] else "DOES NOT AGREE"
        return [
            f"exported to {result['folder']}: {', '.join(result['files'])}",
            f"replay of {replay['rows']} test rows {word}; largest difference {replay['max_difference']:.2g}",
        ]

    return through_job(home, "export", payload, f"Export {options.trial}", lines)


def demo(home: Home, options: Namespace) -> Answer:
    store, answer, lines = open_store(home), {}, []
    for key in first_studies.KEYS:
        study_id, job = first_studies.submit(home, store, key)
        print(f"{job.title}", file=sys.stderr)
        code, found, said = finished(home, store, job, study_id)
        if code:
            return code, found, said
        answer[key] = found
        lines += [found["name"], *said, ""]
        if options.html:
            place = Path(options.html).resolve()
            write_bytes(
                place.with_stem(f"{place.stem}-{key}"), reports.html(reports.load(home, study_id), home).encode()
            )
    return 0, answer, lines


def doctor(home: Home, options: Namespace) -> Answer:
    from tltools import doctor as examined

    facts = examined.examine(home)
    return 0, facts, [f"{key}: {value}" for key, value in facts.items()]


def worker(home: Home, options: Namespace) -> Answer:
    from tltools import worker as working

    return working.main(home), {}, []


# --- shared ---------------------------------------------------------------------------------------------------------


def follow(home: Home, store: Store, job: Job) -> Job:
    """Waits for a job's end, telling its progress on stderr; Ctrl-C cancels it."""
    told = ""
    try:
        while job.state in {"queued", "running"}:
            if local.ensure_worker(home) == "failing":
                raise _no_worker(home)
            now = job.progress
            text = f"{now.stage} {now.done}/{now.total}" if now.stage else job.state
            if text != told:
                seconds = now.eta_seconds or (pace.seconds_left(home, store, job) if job.kind == "study" else None)
                left = f", about {duration(seconds)} left" if seconds else ""
                print(f"  {text}{left}", file=sys.stderr, flush=True)
                told = text
            time.sleep(0.25)  # the store is the only channel between processes, and it is asked, not heard
            job = store.job(job.id) or job
    except KeyboardInterrupt:
        store.cancel(job.id)
        raise
    return job


def _no_worker(home: Home) -> Refusal:
    log = local.log_path(home)
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] if log.is_file() else []
    what = f"ends right after its start: {(last or ['it says nothing'])[0][:300]}"
    return refuse("worker", what, f"Read {log}; `python -m tltools doctor` says what is wrong with this machine.")


def through_job(home: Home, kind: str, payload: dict[str, Any], title: str, lines: Any) -> Answer:
    """Submits a job, follows it to its end, and answers with its result and `lines` of it."""
    store = open_store(home)
    job = store.submit(kind, payload, title=title, key=f"{payload}{time.time_ns()}")
    done = follow(home, store, job)
    if done.state != "done" or done.result is None:
        return _failed(done)
    return 0, done.result, lines(done.result)


def _failed(job: Job) -> Answer:
    failure = job.failure
    said = f"{failure.what} {failure.remedy}" if failure else f"The job was {job.state}."
    print(said, file=sys.stderr)
    code = 2 if failure and failure.type == "bad_data" else 1
    answer: dict[str, Any] = {"job": job.id, "state": job.state}
    answer["failure"] = failure.model_dump() if failure else None
    if code == 2 and failure:
        problem = {"severity": "error", "where": job.title, "what": failure.what, "remedy": failure.remedy}
        answer["problems"] = [problem]
    return code, answer, []


def _read(home: Home, path: str) -> Study:
    file = existing(path) or Path(path)
    asked = studies.parse(file)
    study = studies.settle(home, asked, file.resolve().parent)
    if study.dataset != asked.dataset:  # a path: what was inferred of it has not been seen by anybody yet
        profile = datasets.profile(home, study.dataset)
        told = [*profile.inference, *[f"{problem.severity}: {problem.sentence()}" for problem in profile.problems]]
        print(*told, sep="\n", file=sys.stderr)
    return study


def table(found: Report) -> list[str]:
    """The verdicts as lines, best first at each number of labels."""
    metric, lines = judged_by(found), [found.headline, *found.sentences[:4], ""]
    for row in sorted(found.verdicts, key=lambda row: (row["n_train"], -row["gain"])):
        lines.append(verdict_line(row, row["title"], row["against_title"], metric))
    lines.append(f"study {found.study}")
    return lines


def verdict_line(row: dict[str, Any], arm: str, against: str, metric: Metric) -> str:
    """A verdict as a line for people."""
    labels = f"{row['per_class']} a class" if row.get("per_class") else f"{row['n_train']:,} labels"
    gain = f"{'−' if row['gain'] < 0 else '+'}{words.amount(row['gain'], metric)}"
    interval = words.span(row["low"], row["high"], metric)
    return f"{MARKS[row['verdict']]:24} {arm:48} {labels:14} {gain} ({interval}) against {against}"


def columns(matches: Sequence[Match]) -> list[str]:
    """How columns of a dataset are matched with those of a source's table, one a line."""
    return [f"        {m.column:28} {m.source or '(new)':28} {100 * m.sure:3.0f} %  {m.why}" for m in matches]


def duration(seconds: float | None) -> str:
    """Seconds as people say them: "40 s", "3 min 20 s", "2 h 5 min"."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
