import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from services.storefront import art
from services.storefront.domain import Category, Product


def product(name: str, category: Category | None, *tags: str) -> Product:
    return Product(7, name, "", 100, 1, category, tags)


@pytest.mark.parametrize(
    ("thing", "motif"),
    [
        (product("Aurora", Category.ELECTRONICS, "laptop"), "laptop"),
        (product("Kettlebell 16 kg", Category.SPORTS, "strength"), "kettlebell"),
        (product("Gooseneck Kettle", Category.HOME), "kettle"),
        (product("The Laptop Book", Category.BOOKS, "laptop"), "book"),
        (product("Thing", Category.SPORTS), "ball"),
        (product("Thing", None), "parcel"),
    ],
)
def test_a_product_is_drawn_as_what_its_words_say(thing: Product, motif: str) -> None:
    assert art.motif_of(thing) == motif


def test_every_drawing_is_well_formed_and_coloured() -> None:
    known = art._drawings()
    assert {motif for _, motif in known["words"]} <= set(known["drawings"])
    for motif in (*known["drawings"], "book"):
        for seed in range(12):
            svg = art.draw("home", motif, seed)
            assert svg is not None
            ET.fromstring(svg)
            assert "$" not in svg
            assert svg == art.draw("home", motif, seed)


@pytest.mark.parametrize(("category", "motif"), [("toys", "ball"), ("home", "nothing"), ("home", "../x")])
def test_what_is_not_drawn_is_not_there(category: str, motif: str) -> None:
    assert art.draw(category, motif, 1) is None


def test_pictures_and_pages_load_nothing_from_elsewhere() -> None:
    static = Path(art.__file__).parent / "static"
    for path in static.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http" not in text.replace("https://html.spec", ""), path
        assert "@import" not in text, path
