"""Which nameservers are asked, and in what order: the configuration's, or resolv.conf's as it changes."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from grpcmesh.bad_values import bad_values
from grpcmesh.config import ResolverConfig
from grpcmesh.target import parse_endpoint

#: Nameservers used of those listed (the C library uses three), and bytes read of the file.
MAX_NAMESERVERS = 8
_LONGEST_FILE = 65536
#: Most that `options timeout:` and `attempts:` may say, as in the C library.
_MAX_TIMEOUT, _MAX_ATTEMPTS = 30, 5


class Nameserver(NamedTuple):
    """Where a DNS server listens, over UDP and TCP."""

    host: str
    port: int = 53

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Nameservers:
    """The nameservers in force.

    Args:
        servers: In order of preference; never empty.
        timeout: Seconds after which the next is asked; None: as the configuration says.
        attempts: How often each is asked in one look-up; None: as often as time allows.
        rotate: Whether each look-up begins with another one.
        tcp: Whether they are asked over TCP only (`use-vc`).
    """

    servers: Sequence[Nameserver] = field(default=(Nameserver("127.0.0.1"),))
    timeout: float | None = None
    attempts: int | None = None
    rotate: bool = False
    tcp: bool = False


def parse_resolv_conf(text: str) -> Nameservers:
    """Read resolv.conf(5). What it does not understand it skips, as the C library does.

    Search lists and `ndots` mean nothing here: every name that is asked for is a full one.
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
    """The nameservers in force: those of the configuration, else those of resolv.conf, read when it changes.

    A file that cannot be read changes nothing. Without any, the nameserver of this machine is asked, as the
    C library does.
    """

    def __init__(self, config: ResolverConfig) -> None:
        self._path: Path | None = None if config.nameserver else config.resolv_conf
        self._signature: tuple[int, ...] | None = None
        self._current = Nameservers()
        if config.nameserver:
            listed = config.nameserver.split(",")
            self._current = Nameservers(tuple(Nameserver(*parse_endpoint(n.strip(), 53)) for n in listed))

    def current(self) -> Nameservers:
        """Return the nameservers as of now. Looks at the file's metadata, and reads it where that changed."""
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
    """Yield whom to ask, and how many seconds to wait for an answer before the next is asked as well. Pure.

    The first round asks each server once; from round to round the interval doubles, so that a nameserver in
    trouble is not asked ever more.

    Args:
        servers: In the order of the first round.
        interval: Seconds, for the first round.
        attempts: Rounds; None: as many as fit.
        until: Seconds that a look-up may take in all.
    """
    spent, round_ = 0.0, 0
    while spent < until and (attempts is None or round_ < attempts):
        for server in servers:
            yield server, interval * 2**round_
            spent += interval * 2**round_
        round_ += 1
