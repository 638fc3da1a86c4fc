"""The picture of a strategy: one square a block of the backbone, frozen, trained or new. The only HTML of ours."""

from __future__ import annotations

import math

import streamlit as st

from tltools.strategies import Layout

_MOST = 14  # squares; deeper backbones are thinned


def draw(layout: Layout, *, random: bool = False, solved: bool = True, own_head: bool = False) -> None:
    """Draws the blocks from the input (left) to the head (right); paler means a lower learning rate. solved: whether a
    head alone is solved for in closed form; own_head: it is the source's, as it is."""
    top = max((rate for rate in layout.rates if rate > 0), default=0.0)
    squares = [_square(rate, top, layout.part, random) for rate in thinned(layout.rates)]
    head = f"learning rate {layout.head:.2g}" if layout.head else "closed form" if solved else "trained"
    new = f'<span class="tl-new" title="new head: {head}"></span>'
    squares.append('<span class="tl-frozen" title="its own head"></span>' if own_head else new)
    st.html(f'<div class="tl-strip" role="img" aria-label="{described(layout, own_head)}">{"".join(squares)}</div>')


def thinned(rates: tuple[float, ...]) -> tuple[float, ...]:
    """At most so many blocks, the first and the last always among them."""
    if len(rates) <= _MOST:
        return rates
    return tuple(rates[round(i * (len(rates) - 1) / (_MOST - 1))] for i in range(_MOST))


def described(layout: Layout, own_head: bool = False) -> str:
    """The same in words, for who cannot see it."""
    frozen, count = layout.boundary, len(layout.rates)
    part = {
        "norms": ", only their normalisation",
        "adapters": ", only small adapters beside them",
        "inputs": ", only the input layer, norms and positions",
    }.get(layout.part, "")
    trained = sum(rate > 0 for rate in layout.rates)
    if not count:
        return "No network."
    return f"{count} blocks: {frozen} frozen, {trained} trained{part}; {'its own' if own_head else 'one new'} head."


def key() -> None:
    """What the colours mean."""
    entries = (("frozen", "frozen"), ("train", "trained, paler = lower rate"), ("part", "partly"), ("new", "new"))
    said = "".join(f'<span><i class="tl-{look}"></i>{word}</span>' for look, word in entries)
    st.html(f'<div class="tl-key">{said}</div>')


def _square(rate: float, top: float, part: str, random: bool) -> str:
    if rate <= 0:
        return f'<span class="{"tl-random" if random else "tl-frozen"}" title="frozen"></span>'
    if part != "all":
        return f'<span class="tl-part" title="{part}: learning rate {rate:.2g}"></span>'
    # a lower rate is paler: opacity 1 to 0.22; an unknown ratio is full
    opacity = max(0.22, 1.0 + 0.9 * math.log10(rate / top)) if top > 0 else 1.0
    return f'<span class="tl-train" style="opacity:{opacity:.2f}" title="learning rate {rate:.2g}"></span>'
