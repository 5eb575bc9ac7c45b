"""The scenes, in the order in which they are played."""

from types import ModuleType
from typing import cast

from meshmart.tour import (
    balance,
    intruder,
    kill,
    no_lost_orders,
    overload,
    retry_storm,
    rolling_restart,
    rotate_certs,
    scale_up,
    sick_replica,
    slow_dependency,
    streams,
)
from meshmart.tour.stage import Scene

_IN_ORDER: tuple[ModuleType, ...] = (
    balance,
    scale_up,
    rolling_restart,
    kill,
    sick_replica,
    slow_dependency,
    overload,
    retry_storm,
    rotate_certs,
    intruder,
    streams,
    no_lost_orders,
)

#: The scenes by name. A scene is a module with NAME, SHOWS and play().
SCENES: dict[str, Scene] = {module.NAME: cast(Scene, module) for module in _IN_ORDER}
