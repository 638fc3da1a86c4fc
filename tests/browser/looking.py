"""How the browser tests look at a page: wait until it stands still, read it, measure its contrast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

STILL = '[data-testid="stApp"][data-test-script-state="notRunning"]'


def settled(page: Any, seconds: float = 30) -> Any:
    """Waits until the script has run and nothing is loading."""
    page.wait_for_selector(STILL, timeout=1000 * seconds)
    page.wait_for_function(
        "() => !document.querySelector('[data-testid=stSkeleton]') && "
        "!document.querySelector('[data-testid=stAppViewContainer] [data-stale=true]')",
        timeout=1000 * seconds,
    )
    return page


def button(page: Any, label: str, seconds: float = 30) -> None:
    """Presses a button by its words, once it may be pressed."""
    page.get_by_role("button", name=label).first.click(timeout=1000 * seconds)
    settled(page)


def says(page: Any, text: str, seconds: float = 30) -> None:
    """Waits for words on the page."""
    page.get_by_text(text).first.wait_for(timeout=1000 * seconds)


def overflow(page: Any) -> int:
    """Pixels by which the page is wider than the screen."""
    script = "() => {const m = document.querySelector('[data-testid=stMain]'); return m.scrollWidth - m.clientWidth}"
    return int(page.evaluate(script))


def cut_texts(page: Any) -> list[str]:
    """Words and numbers of cards and chips that end in an ellipsis for want of room."""
    script = """() => [...document.querySelectorAll(
        '[data-testid=stMetric] *, [data-testid=stMarkdownContainer] span'
    )].filter(one => one.textContent.trim() && one.clientWidth && one.scrollWidth > one.clientWidth + 1
        && getComputedStyle(one).overflowX != 'visible').map(one => one.textContent)"""
    return list(page.evaluate(script))


def weak_texts(page: Any) -> list[str]:
    """Texts whose contrast is below WCAG AA (4.5, large text 3, 1.5 where they are disabled); not those of canvases."""
    return list(page.evaluate(Path(__file__).with_name("contrast.js").read_text()))
