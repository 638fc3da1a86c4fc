"""Source models: list, search, say which fit a dataset and why not, fetch weights, add one's own files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from tltools import datasets, matching, mismatches, own_weights, row_sizes
from tltools.artifacts import building, sealed
from tltools.fits import LENGTHS, Fit, Match, class_name, class_places, most_tokens, told_tokens, weights_of
from tltools.home import Home, existing, write_json
from tltools.modalities import modalities
from tltools.providers import Told, providers
from tltools.records import Dataset, Refusal, Source, refuse
from tltools.strategies import Strategy, strategies
from tltools.tasks import row_classes, tasks

NOBODY: Told = lambda done, total: None  # noqa: E731


def listing(home: Home, query: str = "") -> list[Source]:
    """All sources that can be chosen without a network, the installed ones first; `query` filters by words."""
    found = [_titled(source) for provider in providers().values() for source in provider.sources(home)]
    words = query.lower().split()
    if words:
        found = [s for s in found if all(word in f"{s.id} {s.name} {s.pretraining}".lower() for word in words)]
    return sorted(found, key=lambda source: not source.installed)


def search(home: Home, query: str) -> list[Source]:
    """Free search beyond the listing; asks the hub.

    Raises:
        Refusal: offline, or no answer.
    """
    known = {source.id for source in listing(home)}
    found = [source for provider in providers().values() for source in provider.search(home, query)]
    return [source for source in {source.id: source for source in found}.values() if source.id not in known]


def get(home: Home, source_id: str, dataset: Dataset | None = None, changes: matching.Changes | None = None) -> Source:
    """Returns a source's card; with a dataset, as it serves its rows, its columns matched and changed by a study.

    Behind an id and @ stands of how many tokens of a text it is to read: "bundled/minilm-l6@256".

    Raises:
        Refusal: unknown; the nearest known ids are named. More tokens than it can read, or changes of columns that
            cannot be.
    """
    plain, other_length, tokens = source_id.partition("@")
    key = plain.split("/")[0]
    if key not in providers() or "/" not in plain:
        near = get_close_matches(source_id, [source.id for source in listing(home)], n=1, cutoff=0.4)
        remedy = f"Did you mean {near[0]}?" if near else "See `python -m tltools sources`."
        raise refuse(source_id, f"must start with one of {', '.join(k + '/' for k in providers())}.", remedy)
    card = _titled(providers()[key].card(home, plain))
    card = told_tokens(card, tokens) if other_length else card
    if dataset is None:
        return card
    card = card.model_copy(update={"continues": _continues(card, dataset)})
    if not knows_columns(card, dataset):
        return serving(card, dataset)
    pairs = {m.column: m.source for m in matching.between(home, card, dataset, changes) if m.source is not None}
    return card.model_copy(update={"columns": pairs})


def _titled(source: Source) -> Source:
    """The card with the title of the strategy that tuned it, which its provider knows by its key alone."""
    if source.strategy not in strategies():
        return source
    title = strategies()[source.strategy].title
    return source.model_copy(update={"pretraining": source.pretraining.replace(source.strategy, title, 1)})


def _continues(source: Source, dataset: Dataset) -> bool:
    """Whether a dataset asks for nothing but what a source said on its own task."""
    if source.provider == "own":
        same = source.task == dataset.task
    else:
        same = source.classifies and bool(row_classes(dataset)) and serving(source, dataset).reads != "frames"
    return same and class_places(source.classes_seen, dataset.classes) is not None


def knows_columns(source: Source, dataset: Dataset) -> bool:
    """Whether a source has learnt columns of a table, with which those of the dataset are matched."""
    return source.family == "tabular" and source.provider == "own" and dataset.modality == source.reads


def serving(source: Source, dataset: Dataset, strategy: Strategy | None = None) -> Source:
    """The card of a source as it serves a dataset: a text transformer reads rows as frames, through a new input layer,
    where they are no texts or where a strategy asks for it; it writes only where texts are asked for; a classifier is
    asked as a whole where a strategy asks for its head."""
    views, task = modalities()[dataset.modality].views, tasks()[dataset.task]
    source = source.model_copy(update={"writes": source.writes and task.written is not None})
    asked = strategy is not None and "frames" in strategy.reads
    through = "frames" in views and (asked or "text" not in views) and task.dense is None
    entered = source.reads == "text" and source.provider != "own" and through
    if entered:
        return source.model_copy(update={"reads": "frames"})
    return as_whole(source) if source.classifies and strategy is not None and strategy.own_head else source


def as_whole(source: Source) -> Source:
    """The card of a classifier as it is asked: the whole network, whose logits stand where others have features."""
    return source.model_copy(update={"answers": "classification"})


def fetch(home: Home, source: Source, told: Told = NOBODY) -> Path:
    """The local folder with a source's weights and configuration; downloads it first where it must.

    Raises:
        Refusal: offline, unknown, or not what was published.
    """
    provider, plain = providers()[source.provider], weights_of(source.id)
    return provider.fetch(home, source if source.id == plain else provider.card(home, plain), told)


def fits(home: Home, dataset: Dataset, changes: Mapping[str, matching.Changes] | None = None) -> list[Fit]:
    """One cell for every listed source, those that fit first, installed before others, small before large; changes of
    matched columns by source."""
    numbers, changes = datasets.profile(home, dataset.id).numbers, changes or {}
    found = [(source, fit(home, source, dataset, numbers, changes.get(source.id))) for source in listing(home)]
    found.sort(key=lambda pair: (not pair[1].fits, pair[1].new_input, not pair[0].installed, pair[0].parameters or 0))
    return [cell for _, cell in found]


def fit(
    home: Home,
    source: Source,
    dataset: Dataset,
    numbers: Mapping[str, float] | None = None,
    changes: matching.Changes | None = None,
) -> Fit:
    """Says whether a source model can serve a dataset, or why not and what does instead.

    numbers: those of the dataset's profile, where they are known; what a source was not made for is read off them.
    """
    source, views = serving(source, dataset), modalities()[dataset.modality].views
    if source.reads not in views:
        what = f"reads {source.reads}; {dataset.name} holds {dataset.modality} rows."
        return Fit(source=source.id, fits=False, why=what, instead=_nearest(home, views))
    if source.answers not in (None, dataset.task):
        what = f"answers as a whole, by a head of its own for {tasks()[source.answers].title.lower()} alone."
        return Fit(source=source.id, fits=False, why=what, instead=_nearest(home, views))
    if home.offline and not source.installed:
        why = "is not on this machine, and tltools is offline."
        return Fit(source=source.id, fits=False, why=why, instead=_nearest(home, views))
    if numbers is None:
        numbers = datasets.profile(home, dataset.id).numbers
    warnings, why = [*mismatches.found(source, dataset, numbers)], _why(source, dataset)
    lengths = _lengths(source, dataset, numbers, warnings)
    if lengths:
        others = " or ".join(f"{weights_of(source.id)}@{tokens}" for tokens in lengths)
        warnings.append(f"As {others} it reads more of a text, and takes longer; both in one study show if that pays.")
    columns: tuple[Match, ...] = ()
    if knows_columns(source, dataset):
        columns = matching.between(home, source, dataset, changes)
        if not any(match.source for match in columns):
            why = f"knows no column of {dataset.name}: nothing of its table could be matched."
            return Fit(source=source.id, fits=False, why=why, instead="bundled/table-net", columns=columns)
        why, doubts = matching.told(columns, source.name.rpartition(" tuned on ")[2])
        warnings += doubts
    return Fit(
        source=source.id,
        fits=True,
        why=why,
        warnings=tuple(warnings),
        lengths=lengths,
        columns=columns,
        new_input=source.reads == "frames",
        knows=bool(row_classes(dataset)) and _continues(source, dataset) and source.trained_on != dataset.id,
    )


def _lengths(source: Source, dataset: Dataset, numbers: Mapping[str, float], warned: Sequence[str]) -> tuple[int, ...]:
    """The next numbers of tokens at which less of the rows is said to be left out, two at most.

    warned: what is said now."""
    found: list[int] = []
    read, said = row_sizes.limits(source, tasks()[dataset.task])[0], [*warned]
    for tokens in LENGTHS if source.reads == "text" else ():
        if read < tokens <= most_tokens(source) and len(found) < 2:
            then = [*mismatches.found(told_tokens(source, str(tokens)), dataset, numbers)]
            if then == said:
                break
            found, said = [*found, tokens], then
    return tuple(found)


def _why(source: Source, dataset: Dataset) -> str:
    if dataset.modality != source.reads:
        return modalities()[dataset.modality].said[source.reads]
    if source.writes:
        return "Reads texts, and writes new ones as it was pre-trained to."
    if not source.pretrained:
        return "Untrained: for a source task of your own."
    if source.answers:
        return f"Answers as a whole, by its own head; only its scores of classes are new. Reads {source.image_size} px."
    if source.reads == "audio" and source.sampling_rate:
        seconds = min(dataset.reading["seconds"], source.seconds or dataset.reading["seconds"])
        return f"Reads waveforms at {source.sampling_rate / 1000:g} kHz, at most {seconds:g} s of a clip."
    return f"Reads {source.reads}."


def _nearest(home: Home, views: Sequence[str] | object) -> str | None:
    for source in listing(home):
        if source.reads in views and source.installed and source.pretrained and source.answers is None:  # type: ignore[operator]
            return source.id
    for source in listing(home):
        if source.reads in views and source.installed and source.answers is None:  # type: ignore[operator]
            return source.id
    return None


def add(
    home: Home,
    path: str | Path,
    *,
    name: str,
    architecture: str | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    image_size: int | None = None,
    options: dict[str, str | float | int | bool] | None = None,
    classes: Sequence[str] = (),
) -> Source:
    """Adds the user's own weights as `local/<name>`: a transformers folder, or a safetensors file for a timm network.

    `mean` and `std` are per channel, of pixels scaled to 0..1; `options` go to timm's builder (`pad_type`, `bn_eps`),
    for weights that came from another framework; `classes` are names for what a transformers classifier says, in the
    order of its outputs, as your data calls them. The weights are tried on the architecture in a process of their own
    before anything is kept.

    Raises:
        Refusal: pickle, broken file, unknown architecture, every key that does not fit, a name that is taken, or names
            of other classes than its head has.
    """
    there = existing(path)
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:64]
    if not slug:
        raise refuse("name", f"must have a letter or a digit; got {name!r}.", "Give another name.")
    if there is None:
        raise refuse(str(path), "does not exist.", "Check the path.")
    path = there
    final = home.sources / "local" / slug
    if sealed(final):
        raise refuse("name", f"local/{slug} exists already.", "Give another name.")
    source = own_weights.described(path, f"local/{slug}", name, architecture, mean, std, image_size)
    if len(named := [class_name(name) for name in classes if name]) > len(set(named)):
        raise refuse(
            "classes", f"must all differ; got {', '.join(classes)}.", "Leave a name empty that you do not need."
        )
    source = source.model_copy(
        update={"options": dict(options or {}), "classes_seen": tuple(classes) or source.classes_seen}
    )
    with building(final) as part:
        names = {"model.safetensors" if path.is_file() else file.name: file for file in own_weights.files(path)}
        for own, file in names.items():
            own_weights.copy(file, part / own)
        try:
            checked = own_weights.checked(part, source)
        except Refusal as refusal:  # a file is told of by the name that its owner knows
            told = ((names[p.where].name if p.where in names else p.where, p) for p in refusal.problems)
            raise Refusal(*(problem.model_copy(update={"where": where}) for where, problem in told)) from None
        if classes and not checked.classifies:
            what = "can be named for a transformers classifier only, whose file holds a head that says one of them."
            raise refuse("classes", what, "Leave them out.")
        write_json(part / "source.json", checked.model_dump(mode="json"))
    return checked


def static_order(sources: Sequence[Source]) -> list[str]:
    """The baseline that every ranking stands beside: source ids by parameter count, largest first, trained first."""
    ordered = sorted(sources, key=lambda s: (not s.pretrained, -(s.parameters or 0), s.id))
    return [source.id for source in ordered]
