"""What all trials of the classical control share gives the very model that each of them would make alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tltools import datasets, samples
from tltools.engine import classical, word_counts
from tltools.home import Home
from tltools.tasks import tasks


@pytest.mark.parametrize("sample", ["film-notes", "digits-low", "wine"])
def test_a_control_on_what_was_read_once_says_what_one_on_the_items_says(home: Home, sample: str) -> None:
    dataset = samples.add(home, sample)
    items = datasets.items(home, dataset, dataset.modality)
    targets, task = datasets.target(home, dataset), tasks()[dataset.task]
    seen = classical.read(dataset.modality, items)
    random = np.random.default_rng(0)
    for count in (24, 80):
        order = random.permutation(dataset.rows)
        rows, wanted = np.sort(order[:count]), order[count : count + 40]
        alone = classical.Control(dataset, task, classical.pick(items, rows), targets[rows], seed=1)
        shared = classical.Control(dataset, task, classical.pick(seen, rows), targets[rows], seed=1, was_read=True)
        assert shared.method == alone.method
        said = shared.outputs(classical.pick(seen, wanted))
        np.testing.assert_allclose(said, alone.outputs(classical.pick(items, wanted)), rtol=0, atol=1e-6)


def test_of_too_many_terms_the_same_are_kept_as_by_the_vectoriser(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    monkeypatch.setattr(word_counts, "MOST", 40)
    random = np.random.default_rng(1)
    texts = [" ".join(random.choice(list("abcdefghijkl"), 9)) for _ in range(30)]
    counts = word_counts.count(texts)
    assert counts.blocks[0].shape[1] > 40
    found = word_counts.TfIdf().fit_transform(counts.pick(np.arange(20)))
    alone = [
        TfidfVectorizer(**kind, sublinear_tf=True, max_features=40).fit_transform(texts[:20]).toarray()
        for kind in (word_counts.WORDS, word_counts.LETTERS)
    ]
    np.testing.assert_allclose(found.toarray(), np.concatenate(alone, axis=1))


def test_files_are_described_once_for_a_whole_study(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from tltools import studies
    from tltools.engine import study as engine
    from tltools.modalities import image
    from tltools.records import Study
    from tltools.tickets import QuietTicket

    asked: list[str] = []
    described = image._describe

    def noted(path: str) -> np.ndarray:
        asked.append(Path(path).name)
        return described(path)

    monkeypatch.setattr(image, "_describe", noted)
    digits = samples.add(home, "digits-low")
    study = Study(
        dataset=digits.id, sources=("bundled/tiny-resnet",), strategies=("linear_probe",), controls=("classical",),
        fractions=(0.1, 0.2), draws=2,
    )  # fmt: skip
    result = engine.run(QuietTicket(home), {"study": studies.save(home, study)})
    assert result["trials_run"] == 8 and len(asked) == len(set(asked)) > 0
