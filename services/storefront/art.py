"""Product pictures: an SVG for each product, drawn from its words and its id, since there are no photos."""

import functools
import random
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from services.storefront.domain import Product


class Palette(NamedTuple):
    """Hex colours: background, the shape behind the motif, main, dark, light, accent."""

    ground: str
    shape: str
    main: str
    dark: str
    light: str
    accent: str


PALETTES = (
    Palette("#e6eee3", "#cbdfca", "#4f8a6b", "#26483a", "#fbfdf8", "#f2b84b"),
    Palette("#f8e8dd", "#f0cfba", "#d9704a", "#6b2f22", "#fffaf5", "#2f7a80"),
    Palette("#e1edf5", "#c3dcec", "#3b7fb5", "#1d3f5e", "#f8fcff", "#f29b3f"),
    Palette("#eee6f1", "#dccae4", "#8a5a9e", "#46294f", "#fdf9fe", "#e7a13d"),
    Palette("#f6eed8", "#e9d7aa", "#c9962f", "#5c4318", "#fffcf2", "#3f7f8c"),
    Palette("#e4e7f2", "#c9d0e8", "#5566b8", "#262f5c", "#f9faff", "#ef7d57"),
    Palette("#e0efed", "#bfdedb", "#2f8a8a", "#144646", "#f6fffd", "#f0705a"),
)
#: The picture of a product whose details are not known.
PARCEL = "/art/other/parcel/1.svg"
_BOOK = (
    '<path d="M84 34h72a5 5 0 0 1 5 5v107H84z" fill="$m"/>%s<path d="M84 34h9v112h-9z" fill="$d"/>'
    '<path d="M104 %d h38M104 %d h26" stroke="$l" stroke-width="5" stroke-linecap="round"/>'
    '<path d="M84 146h77v6a3 3 0 0 1-3 3H90a6 6 0 0 1-6-6z" fill="$l"/>'
    '<path d="M88 151h73" stroke="$d" stroke-width="1.500" opacity=".3"/>'
)


@functools.cache
def _drawings() -> Mapping[str, Any]:
    """Return `drawings.toml`, read when the first picture is requested."""
    return tomllib.loads((Path(__file__).parent / "drawings.toml").read_text())


def url_of(product: Product) -> str:
    """Return the URL of a product's picture, such as `/art/books/book/24.svg`."""
    category = product.category.value if product.category else "other"
    return f"/art/{category}/{motif_of(product)}/{product.id}.svg"


def motif_of(product: Product) -> str:
    """Return the motif that a product's words name, else the one of its category."""
    category = product.category.value if product.category else "other"
    if category == "books":
        return "book"
    words = " ".join((*product.tags, product.name)).lower()
    known = _drawings()
    fitting = (motif for word, motif in known["words"] if word in words)
    return str(next(fitting, known["fallback"][category]))


def draw(category: str, motif: str, seed: int) -> str | None:
    """Return the SVG, always the same for the same arguments; None for an unknown motif or category."""
    known = _drawings()
    if category not in known["fallback"] or (motif != "book" and motif not in known["drawings"]):
        return None
    rng = random.Random(f"{motif}/{seed}")
    palette = PALETTES[(seed * 3 + len(motif)) % len(PALETTES)]
    drawing = _book(rng) if motif == "book" else known["drawings"][motif]
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 240 180">'
        f'<rect width="240" height="180" fill="{palette.ground}"/>{_backdrop(rng, palette)}'
        f'<ellipse cx="120" cy="150" rx="74" ry="8" fill="{palette.dark}" opacity=".14"/>'
        f"{_coloured(drawing, palette)}</svg>"
    )


def _backdrop(rng: random.Random, palette: Palette) -> str:
    x, y = rng.randint(92, 148), rng.randint(76, 104)
    shapes = (
        f'<circle cx="{x}" cy="{y}" r="70" fill="{palette.shape}"/>',
        f'<rect x="{x - 66}" y="{y - 62}" width="132" height="200" rx="66" fill="{palette.shape}"/>',
        f'<path d="M0 {y + 30}C60 {y - 30} 150 {y + 50} 240 {y - 20}V180H0z" fill="{palette.shape}"/>',
        f'<rect x="{x - 60}" y="{y - 60}" width="120" height="120" rx="22" fill="{palette.shape}" '
        f'transform="rotate({rng.randint(8, 38)} {x} {y})"/>',
    )
    return shapes[rng.randrange(len(shapes))]


def _book(rng: random.Random) -> str:
    cover = rng.choice(_drawings()["covers"])
    return f'<g transform="rotate({rng.randint(-7, 5)} 120 92)">{_BOOK % (cover, 120, 131)}</g>'


def _coloured(drawing: str, palette: Palette) -> str:
    names: Mapping[str, str] = {
        "$m": palette.main,
        "$d": palette.dark,
        "$l": palette.light,
        "$p": palette.accent,
    }
    for name, colour in names.items():
        drawing = drawing.replace(name, colour)
    return drawing
