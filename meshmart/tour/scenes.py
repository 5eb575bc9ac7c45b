"""The scenes, in the order in which they are played."""

from collections.abc import Mapping
from importlib import import_module
from typing import cast

from meshmart.tour.catalogue import CATALOGUE
from meshmart.tour.stage import Scene


def scene(module: str) -> Scene:
    """Return the scene that a module is: it has NAME, SHOWS and play()."""
    return cast(Scene, import_module(module))


#: The scenes by name.
SCENES: Mapping[str, Scene] = {name: scene(f"meshmart.tour.{name.replace('-', '_')}") for name in CATALOGUE}
