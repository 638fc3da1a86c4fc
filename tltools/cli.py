"""The command line: verbs, their arguments, and the exit codes 0 done, 1 the job failed, 2 the request was refused."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from tltools import commands, explanations, source_commands
from tltools.failures import failure
from tltools.home import open_home
from tltools.records import Failure, Problem, Refusal, plain_name


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; prints results on stdout, everything else on stderr."""
    options = parser().parse_args(arguments)
    as_json = bool(getattr(options, "json", False))
    try:
        code, answer, lines = options.run(open_home(), options)
    except Refusal as refusal:
        return _refused(refusal.problems, as_json)
    except KeyboardInterrupt:
        remedy = "Run it again; what is finished is not done twice."
        return _failed(Failure(type="cancelled", what="Stopped.", remedy=remedy), as_json)
    except (OSError, SQLAlchemyError) as error:
        return _failed(failure(error, detail=traceback.format_exc()), as_json)
    _said([json.dumps(answer, ensure_ascii=False, allow_nan=False, default=str)] if as_json else lines)
    return int(code)


def _said(lines: Iterable[str]) -> None:
    try:
        for line in lines:
            print(plain_name(line))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read, such as `head`, has read enough; the end of Python would flush once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refused(problems: Sequence[Problem], as_json: bool) -> int:
    for problem in problems:
        print(f"{problem.severity}: {problem.sentence()}", file=sys.stderr)
    if as_json:
        _said([json.dumps({"problems": [problem.model_dump() for problem in problems]}, ensure_ascii=False)])
    return 2


def _failed(found: Failure, as_json: bool) -> int:
    print(f"{found.what} {found.remedy}", file=sys.stderr)
    if as_json:
        _said([json.dumps({"failure": found.model_dump()}, ensure_ascii=False)])
    return 1


def parser() -> argparse.ArgumentParser:
    """All verbs and their arguments."""
    top = _Parser(prog="python -m tltools", description="Judges transfer learning on your data.")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, run: Any, help: str, *, json: bool = True) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=help, description=help)
        made.set_defaults(run=run)
        if json:
            made.add_argument("--json", action="store_true", help="print one JSON document on stdout")
        return made

    verb("doctor", commands.doctor, "what this machine can do, and why")
    demo = verb("demo", commands.demo, "the sample studies, end to end, offline")
    demo.add_argument("--html", metavar="FILE", help="also write the reports as one HTML page each, beside FILE")

    add = verb("add", commands.add, "add a dataset: a file, folder or zip")
    add.add_argument("path")
    add.add_argument("--test", metavar="PATH", help="its own test part")
    add.add_argument("--target", metavar="COLUMN", help="what is predicted; A,B,C: columns of 0 and 1, a label each")
    add.add_argument("--inputs", metavar="A,B", help="columns that are read")
    add.add_argument("--task")
    add.add_argument("--name")

    sources = verb("sources", source_commands.listed, "every source model: fits or why not; rank")
    sources.add_argument("--dataset", metavar="ID")
    json_too: Any = {"action": "store_true", "default": argparse.SUPPRESS, "help": "print one JSON document on stdout"}
    inner = sources.add_subparsers(dest="action", metavar="add, rank")
    ranked = inner.add_parser("rank", help="rank sources for a dataset by one feature pass each, before any training")
    ranked.set_defaults(run=source_commands.rank)
    ranked.add_argument("dataset", metavar="DATASET_ID")
    ranked.add_argument("--source", action="append", default=[], metavar="ID", help="default: all installed that fit")
    ranked.add_argument("--json", **json_too)
    own = inner.add_parser("add", help="add your own weights: a transformers folder, or safetensors for a timm network")
    own.set_defaults(run=source_commands.add)
    own.add_argument("path")
    own.add_argument("--architecture", metavar="timm/NAME")
    own.add_argument("--mean", metavar="R,G,B", help="of pixels scaled to 0..1")
    own.add_argument("--std", metavar="R,G,B", help="of pixels scaled to 0..1")
    own.add_argument("--size", type=int, metavar="PIXELS", help="input size; default: the architecture's")
    own.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="for timm's builder, e.g. pad_type=same",
    )
    own.add_argument(
        "--classes",
        metavar="A,B",
        help="what a transformers classifier says, in the order of its outputs, in your words",
    )
    own.add_argument("--name", required=True)
    own.add_argument("--json", **json_too)

    plan = verb("plan", commands.plan, "problems, trials, time and memory of a study file")
    plan.add_argument("study", metavar="STUDY.yaml")
    plan.add_argument("--measure", action="store_true", help="try each strategy on a few rows first, for the estimate")
    run = verb("run", commands.run, "run a study file, follow it, judge it")
    run.add_argument("study", metavar="STUDY.yaml")
    report = verb("report", commands.report, "the judged study")
    report.add_argument("study", metavar="STUDY_ID")
    report.add_argument("--html", metavar="FILE")
    report.add_argument("--predictions", metavar="FILE", help="what each arm said of each test row, as CSV for `judge`")
    judge = verb("judge", commands.judge, "judge an experiment that ran elsewhere by its scores or predictions")
    judge.add_argument("file", metavar="FILE", help="columns arm, draw, row, and score, or truth and prediction")
    judge.add_argument("--control", action="append", required=True, metavar="ARM", help="may be repeated")
    judge.add_argument("--labels", type=int, metavar="N", help="labels of each draw, where no column `labels` says it")
    judge.add_argument("--margin", type=float, default=0.01, help="the gain below which nobody cares (0.01)")
    judge.add_argument("--metric", metavar="KEY", help="of predictions; balanced_accuracy or r2 when left out")
    judge.add_argument("--lower", action="store_true", help="lower scores are better")
    predict = verb("predict", commands.predict, "predict a file with a finished trial")
    predict.add_argument("trial", metavar="TRIAL_ID")
    predict.add_argument("file", metavar="FILE")
    predict.add_argument("--out", metavar="FILE", required=True)
    why = verb("explain", explanations.explain, "why a trial says what it says: words, places or columns that count")
    why.add_argument("trial", metavar="TRIAL_ID")
    why.add_argument("--what", default="attribution", help="attribution (default), nearest, forgetting")
    why.add_argument("--how", default="occlusion", help="of words and places: occlusion (default), gradients")
    why.add_argument("--row", action="append", type=int, metavar="N", help="a row of the dataset; may be repeated")
    why.add_argument("--item", action="append", metavar="TEXT|FILE", help="a new text or file; may be repeated")
    export = verb("export", commands.export, "take a model home: weights, card, a script that runs without tltools")
    export.add_argument("trial", metavar="TRIAL_ID")
    export.add_argument("--to", metavar="FOLDER", required=True)
    verb("worker", commands.worker, "run jobs until told to stop", json=False)
    return top


class _Parser(argparse.ArgumentParser):
    """Wrong arguments are a refusal like any other: one sentence, exit code 2, JSON when that was asked for."""

    def error(self, message: str) -> Any:
        if "--json" in sys.argv:
            problem = Problem(severity="error", where="command line", what=message, remedy=f"See {self.prog} --help.")
            print(json.dumps({"problems": [problem.model_dump()]}))
        self.exit(2, f"{self.prog}: {message}\nSee {self.prog} --help.\n")
