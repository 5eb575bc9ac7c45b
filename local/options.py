"""The options of `meshmart up`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.catalog import Catalog
from local.deployment import MAX_REPLICAS
from local.errors import ClusterError

DEFAULT_PORT = 8080
DEFAULT_STATE_DIR = Path(".meshmart")
DEFAULT_ROTATE_EVERY = 24 * 3600.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class Options:
    """The settings of one cluster."""

    state_dir: Path = DEFAULT_STATE_DIR
    port: int = DEFAULT_PORT
    """The port of the storefront on 127.0.0.1; 0 takes any free one."""
    replicas: Mapping[str, int] = field(default_factory=dict)
    """The number of replicas by service, if it differs from the catalogue's."""
    rotate_every: float = DEFAULT_ROTATE_EVERY
    """Seconds between two certificates of a workload."""

    def check(self, catalog: Catalog) -> None:
        """Raise ClusterError for the first setting that is not valid."""
        for service, count in self.replicas.items():
            if service not in catalog:
                raise ClusterError(f"there is no service {service!r}; there are {', '.join(catalog)}")
            if not 0 <= count <= MAX_REPLICAS:
                raise ClusterError(f"--replicas {service}={count}: must be from 0 to {MAX_REPLICAS}")
        if not 0 <= self.port < 65536:
            raise ClusterError(f"--port {self.port} is not a port")
        if self.rotate_every < 1:
            raise ClusterError(f"--rotate-every {self.rotate_every:g}s: must be at least 1s")

    def encode(self) -> str:
        """Return the options as text, for a detached supervisor's command line."""
        fields: dict[str, Any] = {
            **vars(self),
            "state_dir": str(self.state_dir),
            "replicas": dict(self.replicas),
        }
        return json.dumps(fields)

    @classmethod
    def decode(cls, text: str) -> "Options":
        fields = json.loads(text)
        return cls(**{**fields, "state_dir": Path(fields["state_dir"])})


def parse_duration(text: str) -> float:
    """Return the seconds of `24h`, `90s`, `1.5m` or `300ms`.

    Raises:
        ValueError: the text is not such a duration.
    """
    number = text.rstrip("dhms")
    unit = text[len(number) :]
    if unit not in _UNITS or number != number.strip():
        raise ValueError(f"{text!r} is no duration such as 24h, 90s or 300ms")
    try:
        return float(number) * _UNITS[unit]
    except ValueError as e:
        raise ValueError(f"{text!r} is no duration such as 24h, 90s or 300ms") from e


def parse_count(text: str) -> tuple[str, int]:
    """Parse `product=3` to ("product", 3).

    Raises:
        ValueError: the text has another form.
    """
    service, separator, number = text.partition("=")
    if not separator or not service or not (number.isascii() and number.isdigit()):
        raise ValueError(f"{text!r} is not SERVICE=NUMBER, such as product=3")
    return service, int(number)


def parse_replica(text: str) -> tuple[str, int]:
    """Parse `product/1` to ("product", 1).

    Raises:
        ValueError: the text has another form.
    """
    service, separator, number = text.partition("/")
    if not separator or not service or not (number.isascii() and number.isdigit()):
        raise ValueError(f"{text!r} is not SERVICE/NUMBER, such as product/1")
    return service, int(number)
