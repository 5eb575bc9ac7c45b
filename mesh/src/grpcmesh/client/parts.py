"""The parts of a channel that differ between an asynchronous and a synchronous one."""

from collections.abc import Callable
from typing import NamedTuple

from grpcmesh.balancer import Balancer
from grpcmesh.client.core import Core
from grpcmesh.client.pool import Pool
from grpcmesh.client.spec import Spec


class Parts(NamedTuple):
    """Makes these parts. The defaults are those of an asynchronous channel."""

    balancer: Callable[..., Balancer] = Balancer
    pool: Callable[..., Pool] = Pool
    core: Callable[..., Core] = Core
    spec: Callable[..., Spec] = Spec
