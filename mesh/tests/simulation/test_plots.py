"""The pictures of the docs are what the simulator draws, and stand where they are explained."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulation.plots import FOLDER, PLOTS
from tests.simulation.svg import Chart


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Silence the log, in which every ejection appears."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", PLOTS)
def test_the_same_seed_draws_the_file_of_the_docs(name: str) -> None:
    stored = (FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    assert stored == PLOTS[name]().render(), "run python -m tests.simulation.plots"


def test_every_picture_is_embedded_once_and_every_file_is_drawn() -> None:
    docs = "".join(page.read_text(encoding="utf-8") for page in Path(FOLDER).parent.glob("*.md"))
    assert {name: docs.count(f"](images/{name}.svg)") for name in PLOTS} == dict.fromkeys(PLOTS, 1)
    assert {file.stem for file in FOLDER.glob("*.svg")} == set(PLOTS)


def test_a_chart_cuts_what_is_off_the_scale_and_escapes_its_text() -> None:
    svg = Chart("a < b", [("off", [0.0, 9.0]), ("on", [1.0, 1.0])], top=1.0, trouble=(0, 1)).render()
    assert "a &lt; b" in svg
    heights = [point.split(",")[1] for point in svg.split('points="')[1].split('"')[0].split()]
    assert heights == ["214.0", "46.0"]


#: The page of each feature, and the pictures of what it does on and off.
PAGES = {
    "outlier-detection": ["grey-failure"],
    "circuit-breaker": ["hanging-target"],
    "hedging": ["slow-replica"],
    "retry": ["retry-storm"],
    "load-reports": ["unequal-servers"],
    "balancer": ["correlated-restart", "affinity"],
    "subsetting": ["rolling-connections"],
    "zones": ["zone-outage"],
    "health": ["service-health"],
    "admission": ["adaptive-limit", "partial-outage", "priorities"],
    "service-config": [],
}
#: What each page says: when to use it, its source, its settings, how to see it, its limits.
SAID = (
    r"\bUse (it|subsetting)\b|\bWhen to use\b|\bon by default\b",
    r"\]\(https://(github\.com/grpc/|www\.envoyproxy\.io/|arxiv\.org/)",
    r"\n## (Settings|What a client watches)\n",
    r"\n## How to see it\n",
    r"\n## (Limits|Cost and limits)\n",
    r"mesh_\w+",
)


@pytest.mark.parametrize("name", PAGES)
def test_the_page_of_a_feature_says_what_there_is_to_say(name: str) -> None:
    page = (FOLDER.parent / f"{name}.md").read_text(encoding="utf-8")
    assert [wanted for wanted in SAID if not re.search(wanted, page)] == []
    assert [picture for picture in PAGES[name] if f"](images/{picture}.svg)" not in page] == []


def test_every_picture_belongs_to_a_page() -> None:
    assert sorted(picture for pictures in PAGES.values() for picture in pictures) == sorted(PLOTS)
