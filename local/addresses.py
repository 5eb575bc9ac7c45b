"""Assigns each replica its addresses: a loopback address of its own, if the system has all of them."""

import socket
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal, Protocol

from local.catalog import ADMIN_PORT, HEALTH_PORT, MESH_PORT, ServiceSpec
from local.errors import ClusterError, describe

DEFAULT_PREFIX = "127.0"
SINGLE = "single"


@dataclass(frozen=True)
class Place:
    """The addresses of one replica."""

    host: str
    mesh: int
    health: int
    admin: int
    http: int

    def at(self, port: int) -> str:
        return f"{self.host}:{port}"

    def ports(self, spec: ServiceSpec) -> list[int]:
        """Return the ports that the replica will bind."""
        return [self.http if spec.web else self.mesh, self.health, self.admin]


class Loopback(Protocol):
    """Assigns addresses to replicas. The same replica always gets the same ones."""

    resolver_kind: Literal["dns", "srv"]
    """The kind of DNS records that callers query."""

    def place(self, spec: ServiceSpec, replica: int) -> Place: ...


class ManyAddresses:
    """Assigns 127.0.SERVICE.REPLICA with fixed ports.

    Args:
        http_port: The port of web replicas.
        prefix: The first two octets, so that several clusters fit on one machine.
    """

    resolver_kind: Literal["dns", "srv"] = "dns"

    def __init__(self, http_port: int, prefix: str = DEFAULT_PREFIX) -> None:
        self._http_port, self._prefix = http_port, prefix

    def place(self, spec: ServiceSpec, replica: int) -> Place:
        host = f"{self._prefix}.{spec.subnet}.{replica}"
        return Place(host, MESH_PORT, HEALTH_PORT, ADMIN_PORT, self._http_port)


class OneAddress:
    """Assigns 127.0.0.1 with individual ports, found by SRV, for systems without other loopback addresses."""

    resolver_kind: Literal["dns", "srv"] = "srv"

    def __init__(self) -> None:
        self._places: dict[tuple[str, int], Place] = {}
        self._given: set[int] = set()  # including ports that are not bound yet

    def place(self, spec: ServiceSpec, replica: int) -> Place:
        key = (spec.name, replica)
        if key not in self._places:
            ports = _free_ports(4, self._given)
            self._given.update(ports)
            self._places[key] = Place("127.0.0.1", *ports)
        return self._places[key]


def choose(environ: Mapping[str, str], http_port: int) -> Loopback:
    """Choose the kind of addresses that this machine supports.

    Args:
        environ: `MESHMART_LOOPBACK` overrides the choice: `single`, or the first two octets, such as
            `127.42`.
        http_port: The port of web replicas.

    Raises:
        ClusterError: the override is neither.
    """
    wish = environ.get("MESHMART_LOOPBACK", "")
    if wish == SINGLE:
        return OneAddress()
    if wish and not _is_prefix(wish):
        raise ClusterError(f"MESHMART_LOOPBACK={wish!r} is neither 'single' nor two octets such as 127.42")
    prefix = wish or DEFAULT_PREFIX
    return ManyAddresses(http_port, prefix) if _answers(f"{prefix}.1.1") else OneAddress()


def check_free(addresses: Iterable[tuple[str, int]]) -> None:
    """Check that addresses are free by binding each for a moment.

    Raises:
        ClusterError: names the first address that is taken.
    """
    for host, port in addresses:
        try:
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind((host, port))
                s.listen(1)
        except OSError as e:
            raise ClusterError(
                f"{host}:{port} is taken ({describe(e)}): is a cluster with another state directory running?"
            ) from e


def _is_prefix(text: str) -> bool:
    octets = text.split(".")
    return len(octets) == 2 and octets[0] == "127" and octets[1].isdigit() and int(octets[1]) < 256


def _answers(host: str) -> bool:
    try:
        with socket.socket() as s:
            s.bind((host, 0))
    except OSError:
        return False
    return True


def _free_ports(count: int, taken: set[int]) -> list[int]:
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            s = held.enter_context(socket.socket())
            s.bind(("127.0.0.1", 0))
            if s.getsockname()[1] not in taken:
                ports.append(s.getsockname()[1])
        return ports
