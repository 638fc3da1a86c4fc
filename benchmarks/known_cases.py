"""Studies on public datasets whose outcome is known or bounded: `python -m benchmarks.known_cases DATA [CASE ...]`.

DATA is a folder with the datasets under their usual names (see `CASES` for the files); each study runs as
`python -m tltools run` in a home of its own and its verdicts go to docs/known_cases.md and docs/known_cases.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch
import yaml

DOCS = Path(__file__).resolve().parents[1] / "docs"
IMAGENET = "local/mobilenetv2-035"
SPECTRA = "local/mobilenetv2-035-128"  # the same, at a size that suits spectrograms of 64 bands
MINILM = "bundled/minilm-l6"
NET = "bundled/table-net"

MASKS = {"learning_rate": 1e-3, "head_rate": 2e-3, "epochs": 25, "batch_size": 4, "patience": 0, "rates_tried": 1,
         "hold_out": False}  # fmt: skip
BOXES = {"learning_rate": 2e-3, "head_rate": 4e-3, "epochs": 19, "min_steps": 200, "batch_size": 8, "patience": 0,
         "rates_tried": 1, "hold_out": False, "scale": 0.3, "colour": 0.2}  # fmt: skip
ANSWERS = {"learning_rate": 3e-4, "epochs": 3, "min_steps": 120, "batch_size": 16, "patience": 0, "rates_tried": 1,
           "hold_out": False}  # fmt: skip
WORDS = {"learning_rate": 4e-4, "epochs": 8, "patience": 0, "rates_tried": 1, "hold_out": False}
NOISY = {**WORDS, "epochs": 3}
SOUNDS = {"epochs": 12, "patience": 0, "hold_out": False}
WRITING = {"learning_rate": 5e-4, "head_rate": 2e-3, "epochs": 5, "batch_size": 32, "rates_tried": 1}
TOKENS = {"epochs": 10, "min_steps": 60, "patience": 3}

CASES: dict[str, dict[str, Any]] = {
    "hymenoptera": {
        "dataset": "hymenoptera/hymenoptera_train.zip", "test": "hymenoptera/hymenoptera_val.zip",
        "sources": [IMAGENET], "strategies": ["linear_probe"], "controls": ["scratch", "random_frozen", "classical"],
        "fractions": [1.0], "draws": 3,
    },
    "flowers": {
        "dataset": "flowers/flowers_train.zip", "test": "flowers/flowers_test.zip", "sources": [IMAGENET],
        "strategies": ["linear_probe", "multilayer_probe"], "controls": ["random_frozen", "classical"],
        "fractions": [0.1, 1.0], "draws": 3,
    },
    "sst2": {
        "dataset": "sst2/sst2_train.csv", "test": "sst2/sst2_test.csv", "target": "label", "sources": [MINILM],
        "strategies": ["linear_probe", "full_finetune"], "controls": ["scratch", "classical"],
        "per_class": [32, 128, 512], "draws": 3,
    },
    "mr": {
        "dataset": "mr/mr_train.csv", "test": "mr/mr_test.csv", "target": "label", "sources": [MINILM],
        "strategies": ["linear_probe", "multilayer_probe"], "controls": ["classical"], "per_class": [32, 512],
        "draws": 3,
    },
    "agnews": {
        "dataset": "agnews/agnews_train.csv", "test": "agnews/agnews_test.csv", "target": "label",
        "inputs": ["title", "description"], "sources": [MINILM], "strategies": ["linear_probe"],
        "controls": ["random_frozen", "classical"], "per_class": [16, 256], "draws": 3,
    },
    "adult": {
        "dataset": "adult/income_evaluation.csv", "target": "income", "sources": [MINILM],
        "strategies": ["linear_probe", "multilayer_probe"], "controls": ["classical"], "fractions": [0.1], "draws": 5,
    },
    "german-credit": {
        "dataset": "german-credit/german_credit.csv", "target": "class", "sources": [MINILM],
        "strategies": ["linear_probe", "multilayer_probe"], "controls": ["random_frozen", "classical"],
        "fractions": [0.25, 1.0], "draws": 5,
    },
    "heart-source": {
        "dataset": "heart/cleveland.csv", "target": "heartDisDiagnosis", "sources": [NET],
        "strategies": ["full_finetune"], "controls": ["classical"], "fractions": [1.0], "draws": 2,
    },
    "heart": {
        "dataset": "heart/hungarian.csv", "target": "heartDisDiagnosis", "after": "heart-source",
        "strategies": ["boosted_continuation", "linear_probe", "full_finetune"],
        "controls": ["scratch", "random_frozen", "classical"],
        "per_class": [10, 40], "draws": 5,
    },
    "student-por": {
        "dataset": "student-por/student-por.csv", "target": "G3", "sources": [MINILM, NET],
        "strategies": ["linear_probe", "full_finetune"], "controls": ["classical"], "fractions": [1.0], "draws": 3,
    },
    "khan-srbct": {
        "dataset": "khan-srbct/khan_train.csv", "test": "khan-srbct/khan_test.csv", "target": "tumour",
        "sources": [NET], "strategies": ["full_finetune"], "controls": ["classical"], "fractions": [1.0], "draws": 3,
    },
    "camvid": {
        "dataset": "camvid/camvid_subset.zip", "sources": [IMAGENET],
        "strategies": [{"full_finetune": MASKS}], "controls": [{"scratch": MASKS}, "classical"],
        "fractions": [1.0], "draws": 3,
    },
    "bccd": {
        "dataset": "bccd/bccd_voc.zip", "sources": [IMAGENET],
        "strategies": [{"full_finetune": BOXES}], "controls": [{"scratch": BOXES}, "classical"],
        "fractions": [0.2, 1.0], "draws": 3,
    },
    "wikiann": {
        "dataset": "wikiann/wikiann_en_train.conll", "test": "wikiann/wikiann_en_test.conll", "sources": [MINILM],
        "strategies": [{"full_finetune": WORDS}], "controls": [{"scratch": WORDS}, "random_frozen", "classical"],
        "fractions": [0.1], "draws": 2,
    },
    "wikiann-de-0": {
        "dataset": "wikiann/wikiann_en_train.conll", "test": "wikiann/wikiann_de_test.conll", "sources": [MINILM],
        "strategies": [{"full_finetune": WORDS}], "controls": ["classical"], "fractions": [0.1], "draws": 2,
    },
    "wikiann-de": {
        "dataset": "wikiann/wikiann_de_dev.conll", "test": "wikiann/wikiann_de_test.conll", "after": "wikiann",
        "sources": [MINILM], "strategies": [{"full_finetune": WORDS}],
        "controls": [{"scratch": WORDS}, "classical"], "fractions": [0.02], "draws": 3,
    },
    "wnut17": {
        "dataset": "wnut17/wnut17_train.conll", "test": "wnut17/wnut17_test.conll", "sources": [MINILM],
        "strategies": [{"full_finetune": NOISY}], "controls": [{"scratch": NOISY}, "classical"],
        "fractions": [1.0], "draws": 2,
    },
    "xquad": {
        "dataset": "xquad/xquad_en_train.json", "test": "xquad/xquad_en_test.json", "sources": [MINILM],
        "strategies": [{"full_finetune": ANSWERS}], "controls": [{"scratch": ANSWERS}, "random_frozen", "classical"],
        "fractions": [0.5], "draws": 2,
    },
    "fsdd": {
        "dataset": "fsdd/fsdd_train.zip", "test": "fsdd/fsdd_test.zip", "sources": [SPECTRA],
        "strategies": ["linear_probe", {"full_finetune": SOUNDS}],
        "controls": [{"scratch": SOUNDS}, "random_frozen", "classical"],
        "fractions": [0.125, 1.0], "draws": 3,
    },
    "fsdd-language": {
        "dataset": "fsdd/fsdd_train.zip", "test": "fsdd/fsdd_test.zip", "sources": [MINILM],
        "strategies": [{"frozen_transformer": TOKENS}], "controls": [{"random_transformer": TOKENS}, "classical"],
        "per_class": [30], "draws": 3,
    },
    "multi30k": {
        "dataset": "multi30k-en-de/train.csv", "test": "multi30k-en-de/test2016.csv", "target": "de",
        "task": "translation", "sources": [MINILM], "strategies": [{"full_finetune": WRITING}],
        "controls": [{"scratch": WRITING}, "classical"], "fractions": [0.15], "draws": 2,
    },
    "scitldr": {
        "dataset": "scitldr/scitldr_train.csv", "test": "scitldr/scitldr_dev.csv", "target": "summary",
        "task": "summarisation", "sources": [MINILM], "strategies": ["linear_probe"],
        "controls": ["random_frozen", "classical"], "fractions": [0.25], "draws": 2,
    },
    "agnews-titles": {
        "dataset": "agnews/agnews_train.csv", "test": "agnews/agnews_test.csv", "target": "title",
        "inputs": ["description"], "task": "summarisation", "sources": [MINILM], "strategies": ["linear_probe"],
        "controls": ["random_frozen", "classical"], "fractions": [0.25], "draws": 2,
    },
    "promoters": {
        "dataset": "promoters/promoters.csv", "target": "label", "inputs": ["sequence"], "sources": [MINILM],
        "strategies": ["linear_probe", "multilayer_probe"], "controls": ["random_frozen", "classical"],
        "fractions": [1.0], "draws": 5,
    },
    "promoters-tokens": {
        "dataset": "promoters/promoters.csv", "target": "label", "inputs": ["sequence"], "sources": [MINILM],
        "strategies": [{"frozen_transformer": TOKENS}], "controls": [{"random_transformer": TOKENS}, "classical"],
        "fractions": [1.0], "draws": 3,
    },
    "german-credit-tokens": {
        "dataset": "german-credit/german_credit.csv", "target": "class", "sources": [MINILM],
        "strategies": [{"frozen_transformer": TOKENS}], "controls": [{"random_transformer": TOKENS}, "classical"],
        "fractions": [0.25], "draws": 3,
    },
}  # fmt: skip


def main(words: list[str] | None = None) -> None:
    """Runs the cases and writes the documents; a case that was not asked for keeps what an earlier run found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("cases", nargs="*", help=f"from {', '.join(CASES)}; all without")
    asked = parser.parse_args(words)
    stored = DOCS / "known_cases.json"
    found: dict[str, Any] = json.loads(stored.read_text()) if stored.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for more in (("--name", "mobilenetv2-035"), ("--name", "mobilenetv2-035-128", "--size", "128")):
            _tltools(folder, "sources", "add", str(asked.data / "weights/mobilenetv2-035-imagenet"),
                     "--architecture", "timm/mobilenetv2_035", *more)  # fmt: skip
        for name in asked.cases or CASES:
            found[name] = _run(Path(folder), asked.data.resolve(), name)
            stored.write_text(json.dumps(found, indent=1) + "\n")
            (DOCS / "known_cases.md").write_text(_page(found))


def _run(folder: Path, data: Path, name: str) -> dict[str, Any]:
    fields = dict(CASES[name])
    before = fields.pop("after", None)
    if before:
        report = _run(folder, data, before)
        fields["sources"] = [f"own/{report['trial']}", *fields.get("sources", ())]
    for part in ("dataset", "test"):
        if part in fields:
            fields[part] = str(data / fields[part])
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps({"name": name, **fields}))))  # no knobs that arms share
    start = time.monotonic()
    report = _tltools(str(folder), "run", str(path))
    seconds = time.monotonic() - start
    kept = {
        key: report[key] for key in ("study", "metric", "headline", "rows", "arms", "verdicts", "other_metrics", "cost")
    }
    plan = _tltools(str(folder), "plan", str(path))
    last = CASES[name]["strategies"][-1]
    strategy = last if isinstance(last, str) else next(iter(last))
    trial = next(one["id"] for one in plan["trials"] if one["strategy"] == strategy and one["draw"] == 0)
    print(f"{name}: {report['headline']} ({seconds:.0f} s)", flush=True)
    return {
        **kept, "seconds": round(seconds, 1), "load": round(os.getloadavg()[2], 1), "trial": trial,
        "cpu": torch.backends.cpu.get_cpu_capability(), "measured": date.today().isoformat(),
    }  # fmt: skip


def _tltools(home: str, *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tltools", *words, "--json"],
        env={**os.environ, "TLTOOLS_HOME": f"{home}/home", "TLTOOLS_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"tltools {' '.join(words)}: exit {done.returncode}\n{done.stdout}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _page(found: dict[str, Any]) -> str:
    lines = [
        "# Known cases on public data", "",
        "Written by `python -m benchmarks.known_cases DATA`; the datasets are public and not part of this repository.",
        "Scores are means over draws on the test part, with 95 % intervals; gains are against the control named.",
        "A case stands as it was measured on its day; a later version may find other figures.", "",
    ]  # fmt: skip
    for name, case in found.items():
        rows = case["rows"]
        lines += [f"## {name}", "", case["headline"], "",
                  f"{rows['train']} training, {rows['validation']} validation, {rows['test']} test rows; "
                  f"{case['metric']}; {case['seconds']:.0f} s; measured {case['measured']}.", "",
                  "| labels | arm | score | interval | gain | against | verdict |",
                  "|---|---|---|---|---|---|---|"]  # fmt: skip
        for arm in case["arms"]:
            same = [v for v in case["verdicts"] if _key(v) == _key(arm)] if arm["kind"] == "transfer" else []
            gain = f"{same[0]['gain']:+.3f} ({same[0]['low']:+.3f} to {same[0]['high']:+.3f})" if same else ""
            against, verdict = (same[0]["against"], same[0]["verdict"].replace("_", " ")) if same else ("", arm["kind"])
            lines.append(f"| {arm['n_train']} | {arm['strategy']} ({arm['source'] or 'none'}) | {arm['score']:.3f} | "
                         f"{arm['low']:.3f} to {arm['high']:.3f} | {gain} | {against} | {verdict} |")  # fmt: skip
        again = case.get("other_metrics") or []
        if again:
            lines += ["", "| labels | arm | by | gain | against | verdict |", "|---|---|---|---|---|---|"]
        lines += [
            f"| {row['n_train']} | {row['strategy']} ({row['source']}) | {row['metric']} | {row['gain']:+.3f} "
            f"({row['low']:+.3f} to {row['high']:+.3f}) | {row['against']} | {row['verdict'].replace('_', ' ')} |"
            for row in again
        ]
        lines.append("")
    return "\n".join(lines)


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["source"], row["strategy"], row["fraction"], row.get("per_class")


if __name__ == "__main__":
    main()
