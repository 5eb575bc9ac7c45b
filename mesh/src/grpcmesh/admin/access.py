"""Access control of the admin port. By default anybody may scrape the metrics, but not see the page."""

import asyncio
import base64
import hmac
import ipaddress
import logging
from dataclasses import dataclass
from pathlib import Path

from grpcmesh.config import AdminConfig

_log = logging.getLogger(__name__)

#: The most bytes of a token file that are read.
_MOST = 4096


class AccessError(OSError):
    """Raised if the admin port would be open to every host that reaches it."""


@dataclass(frozen=True)
class Asked:
    """The input of a decision: the peer's address, and the header fields `host` and `authorization`."""

    peer: str
    host: str
    authorization: str


class Access:
    """Decides who may see the page and its JSON, and who may see the metrics.

    If a token is configured, callers have to present it: as `Authorization: Bearer TOKEN`, or as the password
    of Basic, which a browser can send. Without a token, only callers on loopback are served, and only if the
    `host` header is an IP address or `localhost`. Another host name would be that of a web page that has its
    visitor's browser send the request (DNS rebinding).

    Args:
        config: The address of the port, and the token file.

    Raises:
        AccessError: The address can be reached from elsewhere, there is no token, and `metrics_only` is not
            set.
    """

    def __init__(self, config: AdminConfig) -> None:
        self._token_file, self._metrics_token = config.token_file, config.metrics_token
        host = config.address.rpartition(":")[0].strip("[]")
        if config.token_file is None and not config.metrics_only and not is_loopback(host):
            raise AccessError(
                f"admin port {config.address}: other hosts can reach it; set MESH_ADMIN_TOKEN_FILE, or "
                "MESH_ADMIN_METRICS_ONLY=true to serve them /metrics and nothing else, or listen on loopback"
            )
        if config.token_file is not None and not read_token(config.token_file):
            _log.warning(
                "admin port %s: MESH_ADMIN_TOKEN_FILE=%s has no token: requests that need one are refused",
                config.address,
                config.token_file,
            )

    async def status(self, asked: Asked, metrics: bool) -> int:
        """Return the HTTP status with which a request is refused, or 200.

        Args:
            asked: The peer and its headers.
            metrics: Whether the request is for the metrics.
        """
        if metrics and not self._metrics_token:
            return 200
        if self._token_file is None:
            return 200 if is_loopback(asked.peer) and names_an_address(asked.host) else 403
        token = await asyncio.to_thread(read_token, self._token_file)
        given = presented(asked.authorization)
        return 200 if token and hmac.compare_digest(given.encode(), token.encode()) else 401


def read_token(file: Path) -> str:
    """Return the token in a file. If there is none, return an empty string, which no request matches."""
    try:
        with file.open("rb") as opened:
            return opened.read(_MOST).decode().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def presented(authorization: str) -> str:
    """Return the token in an `authorization` header, or an empty string."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
    except ValueError:  # no base64, or no text
        return ""


def is_loopback(host: str) -> bool:
    """Return whether a host is a loopback address or `localhost`."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def names_an_address(host: str) -> bool:
    """Return whether a `host` header names an IP address or `localhost`, with or without a port."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name == "localhost"
    return True
