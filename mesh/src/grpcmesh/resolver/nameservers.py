"""The nameservers to ask, and their order: from the configuration, or from resolv.conf."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from grpcmesh.bad_values import bad_values
from grpcmesh.config import ResolverConfig
from grpcmesh.target import parse_endpoint

#: The most nameservers that are used (the C library uses three), and the most bytes of the file that are
#: read.
MAX_NAMESERVERS = 8
_LONGEST_FILE = 65536
#: The largest values of `options timeout:` and `attempts:`, as in the C library.
_MAX_TIMEOUT, _MAX_ATTEMPTS = 30, 5


class Nameserver(NamedTuple):
    """The address of a DNS server, for UDP and TCP."""

    host: str
    port: int = 53

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Nameservers:
    """The nameservers in force.

    Args:
        servers: The servers in order of preference; never empty.
        timeout: Seconds after which the next server is asked. If None, the configuration decides.
        attempts: How often each server is asked in one look-up. If None, as often as time allows.
        rotate: Whether look-ups begin with different servers in turn.
        tcp: Whether servers are asked over TCP only (`use-vc`).
    """

    servers: Sequence[Nameserver] = field(default=(Nameserver("127.0.0.1"),))
    timeout: float | None = None
    attempts: int | None = None
    rotate: bool = False
    tcp: bool = False


def parse_resolv_conf(text: str) -> Nameservers:
    """Parse resolv.conf(5). Unknown content is skipped, as in the C library.

    Search lists and `ndots` are ignored, because all names that are looked up are fully qualified.
    """
    servers: list[Nameserver] = []
    options: dict[str, str] = {}
    for line in text.splitlines():
        keyword, *values = line.split("#")[0].split(";")[0].split() or [""]
        if keyword == "nameserver":
            servers += _nameserver(values)
        elif keyword == "options":
            options.update((name, value) for name, _, value in (v.partition(":") for v in values))
    return Nameservers(
        tuple(servers[:MAX_NAMESERVERS]) or Nameservers().servers,
        _number(options, "timeout", _MAX_TIMEOUT),
        _number(options, "attempts", _MAX_ATTEMPTS),
        "rotate" in options,
        "use-vc" in options,
    )


def _nameserver(values: list[str]) -> list[Nameserver]:
    try:
        return [Nameserver(*parse_endpoint(values[0].strip("[]"), 53))]
    except (IndexError, ValueError):
        bad_values.count("resolv_conf")
        return []


def _number(options: dict[str, str], name: str, most: int) -> int | None:
    text = options.get(name, "")
    return min(max(1, int(text)), most) if text.isascii() and text.isdigit() and len(text) < 10 else None


class Directory:
    """Holds the nameservers of the configuration, or those of resolv.conf, which is read when it changes.

    A file that cannot be read changes nothing. Without any nameserver, the one on this machine is used, as in
    the C library.

    Args:
        config: Settings of the resolver.
    """

    def __init__(self, config: ResolverConfig) -> None:
        self._path: Path | None = None if config.nameserver else config.resolv_conf
        self._signature: tuple[int, ...] | None = None
        self._current = Nameservers()
        if config.nameserver:
            listed = config.nameserver.split(",")
            self._current = Nameservers(tuple(Nameserver(*parse_endpoint(n.strip(), 53)) for n in listed))

    def current(self) -> Nameservers:
        """Return the current nameservers. Reads the file if its metadata has changed."""
        if self._path is not None:
            try:
                self._read(self._path)
            except OSError:
                self._signature = None  # it is being replaced: what was known stays
        return self._current

    def _read(self, path: Path) -> None:
        stat = os.stat(path)
        signature = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if signature != self._signature:
            with path.open("rb") as file:
                self._current = parse_resolv_conf(file.read(_LONGEST_FILE).decode("ascii", "replace"))
            self._signature = signature


def tries(
    servers: Sequence[Nameserver], interval: float, attempts: int | None, until: float
) -> Iterator[tuple[Nameserver, float]]:
    """Yield each server to ask, and the seconds to wait for its answer before the next is asked as well.

    Each round asks every server once. The interval doubles from round to round, to relieve a nameserver in
    trouble.

    Args:
        servers: The servers, in the order of each round.
        interval: Seconds to wait in the first round.
        attempts: Number of rounds. If None, as many as fit.
        until: Seconds that the look-up may take in all.
    """
    spent, round_ = 0.0, 0
    while spent < until and (attempts is None or round_ < attempts):
        for server in servers:
            yield server, interval * 2**round_
            spent += interval * 2**round_
        round_ += 1
