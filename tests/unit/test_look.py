"""One visual language: only the shared style sheet names colours, and its copies are equal."""

import re
from pathlib import Path

import pytest

from grpcmesh.admin import style as admin
from local.traces import list_page, style, trace_page
from meshmart.console.web import assets
from services.look.files import FILES
from services.storefront.site import Assets

ROOT = Path(__file__).parents[2]
THEME = FILES["theme.css"].decode()
#: Every other style sheet, by where it is from.
SHEETS = {
    **{
        str(path.relative_to(ROOT)): path.read_text()
        for folder in ("services/storefront/static", "meshmart/console/static")
        for path in sorted((ROOT / folder).glob("*.css"))
    },
    "grpcmesh.admin": admin.STYLE.replace(THEME, ""),
    "local.traces.style": style.STYLE.replace(THEME, ""),
    "local.traces.list_page": list_page._STYLE,
    "local.traces.trace_page": trace_page._STYLE,
}
#: A colour written out. Hues that tell services apart take saturation and lightness from the theme.
COLOUR = re.compile(r"#[0-9a-fA-F]{3,8}\b(?![^{};]*\{)|\b(?:rgba?|hwb|oklch|lab)\(|\bhsla?\((?!var\()")
BLOCKS = re.compile(r"(?:@media \(([^)]*)\) \{\s*)?:root \{(.*?)\n\s*\}", re.DOTALL)


def tokens() -> dict[str, dict[str, str]]:
    """The custom properties by where they are set: "" is everywhere, the others are media queries."""
    return {query: dict(re.findall(r"(--[\w-]+): ([^;]+);", body)) for query, body in BLOCKS.findall(THEME)}


def luminance(colour: str) -> float:
    """https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_the_librarys_copy_is_the_same() -> None:
    copy = ROOT / "mesh/src/grpcmesh/admin/theme.css"
    assert copy.read_text() == THEME, "make theme"


def test_every_site_serves_it() -> None:
    served = Assets().get("theme.css")
    assert served is not None
    assert served.body == assets()["theme.css"].body == FILES["theme.css"]
    assert style.STYLE.startswith(THEME)
    assert admin.STYLE.startswith(THEME)


@pytest.mark.parametrize(
    "page", sorted((ROOT / "meshmart/console/static").glob("*.html")), ids=lambda p: p.name
)
def test_every_page_of_the_console_loads_it_before_the_others(page: Path) -> None:
    sheets = re.findall(r'rel="stylesheet" href="([^"]+)"', page.read_text())
    assert sheets[0] == "/static/theme.css"


@pytest.mark.parametrize("sheet", SHEETS)
def test_no_other_sheet_writes_out_a_colour_or_sets_a_token(sheet: str) -> None:
    assert COLOUR.findall(SHEETS[sheet]) == []
    own = set(re.findall(r"(--[\w-]+):", SHEETS[sheet]))
    assert own & set(tokens()[""]) <= {"--page"}


@pytest.mark.parametrize("sheet", SHEETS)
def test_what_a_sheet_takes_from_the_theme_is_there(sheet: str) -> None:
    text = SHEETS[sheet]
    own = set(re.findall(r"(--[\w-]+):", text)) | {"--h", "--d"}  # set by an element's style
    assert set(re.findall(r"var\((--[\w-]+)", text)) - own <= set(tokens()[""])


def test_dark_and_forced_colours_set_what_light_sets() -> None:
    found = tokens()
    colours = {name for name, value in found[""].items() if value.startswith("#")}
    assert colours <= set(found["prefers-color-scheme: dark"])
    assert colours <= set(found["forced-colors: active"])


#: Text on what lies behind it (https://www.w3.org/TR/WCAG22/#contrast-minimum). Borders of what can be
#: operated need 3 to 1: https://www.w3.org/TR/WCAG22/#non-text-contrast
PAIRS = [
    *((text, surface, 4.5) for text in ("ink", "soft", "brand") for surface in ("paper", "card", "raised")),
    *((text, "card", 4.5) for text in ("good", "warm", "bad")),
    *((state, f"{state}-tint", 4.5) for state in ("good", "warm", "bad")),
    ("on-brand", "brand", 4.5),
    ("on-brand", "brand-strong", 4.5),
    ("brand-strong", "tint", 4.5),
    ("outline", "card", 3),
    ("outline", "paper", 3),
]


@pytest.mark.parametrize("scheme", ["", "prefers-color-scheme: dark"])
@pytest.mark.parametrize(("front", "back", "least"), PAIRS)
def test_the_colours_can_be_told_apart(scheme: str, front: str, back: str, least: float) -> None:
    colours = tokens()[scheme]
    assert contrast(colours[f"--{front}"], colours[f"--{back}"]) >= least
