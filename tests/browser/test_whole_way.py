"""From a file to a verdict to a prediction, in a real browser with the real worker; refresh, second browser, look."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from looking import button, cut_texts, overflow, says, settled, weak_texts
from serving import Served, serving

pytestmark = pytest.mark.browser
WIDTHS = {1440: 900, 390: 844}
PAGES = ("", "dataset", "source", "strategy", "runs", "compare", "explain", "predict")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("way") / "home", worker=True, TLTOOLS_OFFLINE="1") as served:
        yield served


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV whose target is not the column that inference takes: a person has to say so."""
    draw = random.Random(0)
    lines = ["age;income;town;bought;returned"]
    for _ in range(240):
        age, income = draw.randint(18, 80), draw.randint(900, 9000)
        bought = "yes" if age * 60 + income + draw.gauss(0, 900) > 7500 else "no"
        lines.append(f"{age};{income};{draw.choice(['Bonn', 'Kiel', 'Ulm'])};{bought};{draw.choice(['yes', 'no'])}")
    path = tmp_path_factory.mktemp("files") / "shop customers.csv"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def judged(server: Served, table: Path, chromium: Any) -> dict[str, str]:
    """Walks the whole way by upload once; the other tests look at what it left. Returns ids and addresses."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{server.url}/dataset")
    settled(page)
    page.locator('input[type="file"]').first.set_input_files(str(table))
    button(page, "Read it")
    says(page, "Is this right?", 90)
    settled(page)
    choose(page, "What is to be predicted", "bought")
    button(page, "Look again with these choices")
    page.get_by_role("button", name="Add this dataset").wait_for(timeout=60_000)
    settled(page)
    assert "classification of bought" in page.get_by_test_id("stMain").inner_text()
    button(page, "Add this dataset")
    button(page, "Choose a source model", 90)
    says(page, "Which source model?")
    flip(page, "MiniLM-L6", False)
    disabled = page.get_by_role("button", name="Choose a strategy", disabled=True)
    disabled.wait_for(timeout=60_000)
    assert not weak_texts(page), "what is disabled can still be read"
    flip(page, "Table network", True)
    button(page, "Choose a strategy")
    says(page, "What should be trained?")
    pick_shares(page)
    button(page, "Run the study")
    says(page, "You may close this page")
    page.get_by_test_id("stMain").get_by_text(re.compile(r"\brunning$")).first.wait_for(timeout=60_000)
    running = page.url
    assert re.search(r"study=[0-9a-f]{16}", running) and re.search(r"dataset=[0-9a-f]{16}", running)
    page.reload()  # mid-run: the same run, because the ids are in the URL
    settled(page)
    says(page, "shop customers")
    second = chromium.new_context().new_page()
    second.goto(running)
    settled(second)
    says(second, "shop customers")
    second.context.close()
    page.get_by_role("button", name="Open the verdict").wait_for(timeout=240_000)
    page.get_by_text("Finished:").wait_for(timeout=240_000)
    button(page, "Open the verdict")
    says(page, "Did it help?")
    said = page.get_by_role("heading", level=1).inner_text()
    assert said == "Nothing was transferred: the source is untrained.", "tables start from no pre-trained source"
    ids = dict(re.findall(r"(\w+)=([^&]+)", page.url.partition("?")[2]))
    context.close()
    return ids


def choose(page: Any, label: str, option: str) -> None:
    """Picks an option of a select box by keyboard, as a person without a mouse would."""
    box = page.get_by_role("combobox", name=re.compile(label))
    box.click()
    box.fill(option)
    box.press("Enter")
    settled(page)


def flip(page: Any, name: Any, on: bool) -> None:
    """Turns the switch of a card."""
    box = page.get_by_role("switch", name=name).first
    if box.is_checked() != on:
        page.locator("label", has_text=name).first.click()
        settled(page)


def pick_shares(page: Any) -> None:
    """Only the larger shares: this is a test of screens, not of statistics."""
    for share in ("10 %", "25 %"):
        one = page.get_by_role("button", name=share, exact=True).or_(page.get_by_role("radio", name=share, exact=True))
        if one.count():
            one.first.click()
            settled(page)


def test_the_whole_way_by_upload_leads_to_a_verdict(server: Served, judged: dict[str, str]) -> None:
    assert set(judged) >= {"dataset", "study"}
    kept = list((server.home / "uploads").glob("*/*"))
    assert kept and all(re.fullmatch(r"[a-z0-9-]+\.csv", path.name) for path in kept if path.is_file())


def test_one_row_and_a_whole_file_are_predicted(
    server: Served, judged: dict[str, str], chromium: Any, tmp_path: Path
) -> None:
    page = chromium.new_context(accept_downloads=True).new_page()
    page.goto(f"{server.url}/predict?study={judged['study']}")
    settled(page)
    button(page, "Predict")
    says(page, "% sure", 90)
    page.get_by_role("tab", name="A whole file").click()
    new = tmp_path / "new.csv"
    new.write_text("age;income;town;returned\n30;1000;Ulm;no\n70;8000;Kiel;yes\n")
    page.locator('input[type="file"]').first.set_input_files(str(new))
    button(page, "Predict all rows")
    says(page, "2 rows", 90)
    with page.expect_download() as got:
        page.get_by_role("button", name="Download all").click()
    lines = Path(got.value.path()).read_text().splitlines()
    assert len(lines) == 3 and "prediction" in lines[0]
    page.context.close()


def test_an_export_is_replayed_and_can_be_downloaded(server: Served, judged: dict[str, str], chromium: Any) -> None:
    page = chromium.new_context(accept_downloads=True).new_page()
    page.goto(f"{server.url}/predict?study={judged['study']}")
    settled(page)
    page.get_by_role("tab", name="Take it home").click()
    button(page, "Export and check")
    says(page, "came out again", 120)
    with page.expect_download() as got:
        page.get_by_role("button", name="Download as zip").click()
    assert Path(got.value.path()).stat().st_size > 1000
    page.context.close()


@pytest.mark.parametrize(
    ("width", "theme"),
    [
        (1440, "light"),
        (390, "dark"),
        pytest.param(1440, "dark", marks=pytest.mark.slow),
        pytest.param(390, "light", marks=pytest.mark.slow),
    ],
)
def test_every_page_fits_and_can_be_read(
    server: Served, judged: dict[str, str], chromium: Any, tmp_path_factory: Any, theme: str, width: int
) -> None:
    shots = tmp_path_factory.getbasetemp() / "shots"
    shots.mkdir(exist_ok=True)
    context = chromium.new_context(viewport={"width": width, "height": WIDTHS[width]}, color_scheme=theme)
    page, weak = context.new_page(), {}
    for name in PAGES:
        page.goto(f"{server.url}/{name}?dataset={judged['dataset']}&study={judged['study']}")
        settled(page)
        page.wait_for_timeout(600)  # charts draw after the script has ended
        assert overflow(page) <= 0, f"{name} is wider than {width} px"
        assert page.get_by_test_id("stException").count() == 0, name
        if found := weak_texts(page):
            weak[name] = found
        page.screenshot(path=str(shots / f"{name or 'home'}-{theme}-{width}.png"), full_page=True)
    context.close()
    assert not weak, "\n".join(f"{name or 'home'}: {found}" for name, found in weak.items())


def test_between_phone_and_desk_no_number_is_cut(server: Served, judged: dict[str, str], chromium: Any) -> None:
    page = chromium.new_page(viewport={"width": 820, "height": 1180})
    for name in ("", "dataset", "compare"):
        page.goto(f"{server.url}/{name}?dataset={judged['dataset']}&study={judged['study']}")
        settled(page)
        page.get_by_test_id("stMetric").first.wait_for()
        assert not cut_texts(page) and overflow(page) <= 0, name
    page.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_plan_and_run_are_in_sight_wherever_one_is(
    server: Served, judged: dict[str, str], chromium: Any, width: int
) -> None:
    page = chromium.new_page(viewport={"width": width, "height": WIDTHS[width]}, color_scheme="dark")
    page.goto(f"{server.url}/strategy?dataset={judged['dataset']}&source=bundled/minilm-l6")
    settled(page)
    run, plan = (
        page.get_by_role("button", name="Run the study"),
        page.get_by_text(re.compile(r"^\d+( of \d+)? trials? · about")),
    )
    for at in (0, 10**6):
        page.get_by_test_id("stMain").evaluate("(main, at) => main.scrollTo(0, at)", at)
        for shown in (run, plan):
            box = shown.bounding_box()
            assert box["y"] >= 0 and box["y"] + box["height"] <= WIDTHS[width]
    page.get_by_text("Metric, margin, groups").click()
    choose(page, "Groups to report on", "town")
    assert not weak_texts(page) and overflow(page) <= 0
    page.close()


def test_the_server_never_maps_torch(server: Served, judged: dict[str, str]) -> None:
    assert not server.maps_torch()
