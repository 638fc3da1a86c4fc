"""Controls for places of a row: pixels by colour, where boxes use to lie, words by their letters, likest sentences."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tltools import answers, places
from tltools.engine import plain_rules
from tltools.engine.image_backbone import decode
from tltools.engine.plain_rules import Rule
from tltools.tasks import _mask_scores as scores
from tltools.tasks import tagging

SIDE = 72  # pixels of a side that the colour control reads
PIXELS = 60_000  # of the training pictures that it is fitted on
SENTENCES = 1_000  # whose words are tagged at a time
MOST_HELD = 2.5e8  # bytes of small pictures, and of small masks


class Held:
    """What a control reads of rows, found when a row is first asked for and then held, as long as there is room; rows
    beyond that are given as they are, for the control to read anew."""

    def __init__(
        self, rows: Sequence[Any] | np.ndarray, read: Callable[[Any], np.ndarray] | None, most: float = MOST_HELD
    ) -> None:
        """read: what is found of a row; None: it is read as it is."""
        self._rows, self._read, self._room = rows, read, most
        self._held: dict[int, np.ndarray] = {}
        self._took = 0.0

    def of(self, wanted: Sequence[int] | np.ndarray) -> list[Any]:
        """What is read of rows, by their numbers."""
        return [self._one(int(row)) for row in wanted]

    def seconds(self, wanted: Sequence[int] | np.ndarray) -> float:
        """Seconds that it took to find what is held of these rows, by their number."""
        return self._took / max(len(self._held), 1) * sum(int(row) in self._held for row in wanted)

    def _one(self, row: int) -> Any:
        if self._read is None or row in self._held or self._room <= 0:
            return self._held.get(row, self._rows[row])
        started = time.monotonic()
        found = self._held[row] = self._read(self._rows[row])
        self._took += time.monotonic() - started
        self._room -= found.nbytes
        return found


def pixel_colours(items: Sequence[Any], truth: np.ndarray, wanted: Sequence[Any], seed: int) -> tuple[np.ndarray, str]:
    """Masks (M,) of `wanted`: gradient boosting on the colour of a pixel, of what lies around it, and its place."""
    found = np.empty(len(wanted), object)
    model = colour_model(items, truth, seed)
    if isinstance(model, int):
        for i in range(len(wanted)):
            found[i] = np.full((SIDE, SIDE), model, np.uint8)
        return found, "the only class it saw"
    for i, item in enumerate(wanted):
        found[i] = model.predict(_pixels(item)).reshape(SIDE, SIDE).astype(np.uint8)
    return found, "colour and place of pixels + gradient boosting"


def colour_model(items: Sequence[Any], truth: np.ndarray, seed: int) -> Any:
    """What `pixel_colours` fits on pictures and their masks (N,), or the only class there is."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    codes = np.concatenate([small_mask(mask).ravel() for mask in truth])
    judged = np.flatnonzero(codes != places.IGNORED)
    chosen = np.random.default_rng(seed).permutation(judged)[:PIXELS]
    kinds = np.unique(codes[chosen])
    if len(kinds) < 2:
        return int(kinds[0]) if len(kinds) else 0
    model = HistGradientBoostingClassifier(max_iter=60, learning_rate=0.15, max_depth=5, random_state=seed)
    values, owners = np.empty((len(chosen), 8), np.float32), chosen // SIDE**2
    for owner in np.unique(owners):  # of each picture the chosen pixels alone are held
        own = owners == owner
        values[own] = _pixels(items[owner])[chosen[own] % SIDE**2]
    return model.fit(values, codes[chosen])


def mean_boxes(items: Sequence[Any], truth: np.ndarray, wanted: Sequence[Any], seed: int) -> tuple[np.ndarray, str]:
    """Boxes (M,) of `wanted`: the same for every picture, the middles of as many groups as a picture has boxes."""
    from sklearn.cluster import KMeans

    everything = np.concatenate([boxes.reshape(-1, 5) for boxes in truth])
    prior = [np.zeros((0, 6))]
    for code in np.unique(everything[:, 0]):
        own = everything[everything[:, 0] == code, 1:]
        count = min(len(np.unique(own, axis=0)), max(1, round(len(own) / len(truth))))
        groups = KMeans(count, n_init=3, random_state=seed).fit(own)
        share = np.bincount(groups.labels_, minlength=count) / len(truth)
        prior.append(np.column_stack([np.full(count, code), groups.cluster_centers_, np.clip(share, 0, 1)]))
    found = np.empty(len(wanted), object)
    for i in range(len(wanted)):
        found[i] = np.concatenate(prior)
    return found, "mean boxes of the training pictures"


def word_shapes(items: Sequence[Any], truth: np.ndarray, wanted: Sequence[Any], seed: int) -> tuple[np.ndarray, str]:
    """Tags (M,) of `wanted`: logistic regression on a word, its beginning, end and shape, and its neighbours; of the
    sequences that entities can have, the likeliest."""
    fitted = tag_model(items, truth, seed)
    found = np.empty(len(wanted), object)
    lengths = [str(item).count(" ") + 1 for item in wanted]
    if isinstance(fitted, int):
        for i, length in enumerate(lengths):
            found[i] = np.full(length, fitted)
        return found, "the only tag it saw"
    hasher, used, model = (fitted[part] for part in ("hasher", "used", "model"))
    kinds = model.classes_
    for start in range(0, len(wanted), SENTENCES):
        some = lengths[start : start + SENTENCES]
        words = [word for item in wanted[start : start + SENTENCES] for word in clues(str(item))]
        raw = np.full((len(some), max(some), kinds.max() + 1), tagging.NOTHING)
        there = np.arange(max(some)) < np.array(some)[:, None]
        said = np.full((len(words), kinds.max() + 1), tagging.NOTHING / 2)  # of tags that it never saw
        said[:, kinds] = model.predict_log_proba(hasher.transform(words)[:, used])
        raw[there] = said
        found[start : start + SENTENCES] = tagging.decode(raw)
    return found, "letters of a word and its neighbours + logistic regression"


def tag_model(items: Sequence[Any], truth: np.ndarray, seed: int) -> dict[str, Any] | int:
    """What `word_shapes` fits on texts and their tags (N,): {"hasher": of `clues`, "used": its columns that are read,
    "model"}; or the only tag there is."""
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.linear_model import LogisticRegression

    codes = np.concatenate(list(truth))
    kinds = np.unique(codes)
    if len(kinds) < 2:
        return int(kinds[0]) if len(kinds) else 0
    hasher = FeatureHasher(2**18, input_type="string", alternate_sign=False)
    seen = hasher.transform([word for item in items for word in clues(str(item))])
    used = np.unique(seen.indices)  # what no training word has would get no weight, and cost as much
    model = LogisticRegression(C=3.0, max_iter=300, random_state=seed).fit(seen[:, used], codes)
    return {"hasher": hasher, "used": used, "model": model}


def likest_sentence(
    items: Sequence[Any], truth: np.ndarray, wanted: Sequence[Any], seed: int
) -> tuple[np.ndarray, str]:
    """Answers (M,) of `wanted`: the sentence of the context that shares most with its question, rare words first."""
    rule = likest_rule(items, truth)
    found = [(*plain_rules.likest(str(item), rule.known), rule.known["least"]) for item in wanted]
    said = [answers.Said(span, score) if score >= least else answers.Said(None, round(1 - score, 5))
            for score, span, least in found]  # fmt: skip
    return places.as_rows(said), rule.method


def likest_rule(items: Sequence[Any], truth: np.ndarray) -> Rule:
    """What `likest_sentence` learns.

    Where the training rows have questions without an answer, a sentence that shares less than a share of the question
    is no answer; the share is the one with which most training rows are answered or not as they should be.
    """
    seen = [frozenset(plain_rules.letters(words)) for item in items for words in _sentences(str(item))]
    often = Counter(word for sentence in set(seen) for word in sentence)
    rare = {word: float(np.log((1 + len(seen)) / (1 + count)) + 1) for word, count in often.items()}
    known: dict[str, Any] = {"rare": rare, "seen": len(seen), "least": 0.0}
    answered = np.array([bool(one.spans) for one in truth])
    if not answered.all():
        shares = np.array([plain_rules.likest(str(item), known)[0] for item in items])
        tried = np.unique([0.0, *shares, 1.01])
        known["least"] = float(max(tried, key=lambda share: ((shares >= share) == answered).mean()))
    return Rule(known, plain_rules.likest_sentence, "the sentence that shares most words with the question")


def _sentences(text: str) -> list[list[str]]:
    words = text.split(" ")
    return [words[slice(*span)] for span in answers.sentences(words, answers.begin(text))]


def clues(text: str) -> list[list[str]]:
    """What the control of tags sees of each word of a text that blanks divide; exports carry it and `shape`."""
    words = ["", *text.split(" "), ""]
    return [
        [
            f"word {word.lower()}", f"shape {shape(word)}", f"starts {word[:3].lower()}", f"ends {word[-3:].lower()}",
            f"before {before.lower()}", f"after {after.lower()}", f"shapes {shape(before)} {shape(word)}",
            f"shapes after {shape(word)} {shape(after)}", f"first {not before}", f"length {min(len(words), 12)}",
        ]
        for before, word, after in zip(words, words[1:], words[2:], strict=False)
    ]  # fmt: skip


def shape(word: str) -> str:
    """Large and small letters, digits and signs, runs joined: London -> Xx."""
    signs = ["X" if c.isupper() else "x" if c.islower() else "9" if c.isdigit() else c for c in word[:20]]
    return "".join(c for k, c in enumerate(signs) if not k or signs[k - 1] != c)


def small(item: Any) -> np.ndarray:
    """(SIDE, SIDE, 3) uint8: a picture as the colour control reads it."""
    return decode(item, SIDE)


def small_mask(mask: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE) of a mask (h, w)."""
    return scores.fitted(mask, (SIDE, SIDE))


def _pixels(item: Any) -> np.ndarray:
    """(SIDE * SIDE, 8) of a picture, or of what `small` says of it: red, green, blue of a pixel and of its
    neighbourhood, and where it lies."""
    from scipy.ndimage import uniform_filter

    picture = (item if isinstance(item, np.ndarray) else small(item)).astype(np.float32)
    around = uniform_filter(picture, size=(9, 9, 1))
    place = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), 2).astype(np.float32)
    return np.concatenate([picture, around, place], 2).reshape(SIDE * SIDE, 8)


READ = {"pixel_colours": (small, small_mask)}  # what is found of items and of their truth once, by control
