"""Who may see what of the admin port: metrics are for whoever scrapes, the page is not for everybody."""

import asyncio
import base64
import hmac
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from grpcmesh.config import AdminConfig

#: Bytes of a token file that are read.
_MOST = 4096


class AccessError(OSError):
    """The admin port would be open to whoever reaches it."""


@dataclass(frozen=True)
class Asked:
    """What a decision goes by: the peer's address, and the header fields `host` and `authorization`."""

    peer: str
    host: str
    authorization: str


class Access:
    """Decides who sees the page and its JSON, and who sees the metrics.

    With a token, those who present it (`Authorization: Bearer TOKEN`, or Basic with it as the password, which
    a browser can do). Without one, callers on loopback that name the port by its IP address or `localhost`:
    another name is that of a web page which has its browser ask here (DNS rebinding).

    Args:
        config: Where the port listens, and the token.

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

    async def status(self, asked: Asked, metrics: bool) -> int:
        """Return the HTTP status with which a request is refused, or 200.

        Args:
            asked: By whom, and with what.
            metrics: Whether it is for the metrics.
        """
        if metrics and not self._metrics_token:
            return 200
        if self._token_file is None:
            return 200 if is_loopback(asked.peer) and _names_an_address(asked.host) else 403
        token = await asyncio.to_thread(read_token, self._token_file)
        given = presented(asked.authorization)
        return 200 if token and hmac.compare_digest(given.encode(), token.encode()) else 401


def read_token(file: Path) -> str:
    """Return the token of a file; empty where there is none, so that nothing is accepted."""
    try:
        with file.open("rb") as opened:
            return opened.read(_MOST).decode().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def presented(authorization: str) -> str:
    """Return the token that a request presents, or the empty string."""
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
    """Return whether an address is one of this host alone; a name other than localhost is none."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def _names_an_address(host: str) -> bool:
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name == "localhost"
    return True
