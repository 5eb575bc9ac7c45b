"""The experiments that can be played: the scenes of the tour, and those that only a lesson has."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from meshmart.tour.catalogue import CATALOGUE

if TYPE_CHECKING:
    from meshmart.tour.stage import Scene

#: The experiments that are no scenes of the tour: what each shows, by name.
OWN: Mapping[str, str] = {
    "one-pod": "a plain channel to product uses 1 replica of 3; the mesh's channel uses all of them evenly",
}
#: The experiments that read the shop's books, which takes access to its database.
READ_BOOKS = frozenset({"no-lost-orders", "slow-dependency", "streams"})
#: What each experiment shows, by name.
EXPERIMENTS: Mapping[str, str] = {**CATALOGUE, **OWN}


def verb(experiment: str) -> tuple[str, ...]:
    """Return the arguments of `meshmart` that play an experiment."""
    return ("lesson" if experiment in OWN else "tour", experiment)


def load(experiment: str) -> "Scene":
    """Import and return the scene that plays an experiment."""
    from meshmart.tour.scenes import SCENES, scene

    if experiment in OWN:
        return scene(f"meshmart.lessons.{experiment.replace('-', '_')}")
    return SCENES[experiment]
