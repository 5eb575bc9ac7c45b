"""The storefront's own settings, `MESHMART_*`, beside those of the mesh."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from grpcmesh.config import ConfigError
from grpcmesh.http import Proxies


@dataclass(frozen=True)
class Settings:
    host: str = "127.0.0.1"
    """Where the page is served."""
    port: int = 8080
    """0: any free port."""
    traces_url: str = ""
    """Base address of the trace store's pages; a trace lies at `/trace/ID` under it. Empty: no links."""
    secure_cookies: bool = False
    """Cookies for https only, and HSTS. Off for http://127.0.0.1; on behind anything that speaks TLS."""
    demo_users: bool = False
    """Whether the log-in page tells of the demo users and their passwords."""
    proxies: Proxies = field(default_factory=Proxies)
    """The peers that are believed when they say, by X-Forwarded-For or a PROXY line, whom they speak for."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Reads MESHMART_HTTP_ADDRESS, _TRACES_URL, _SECURE_COOKIES, _DEMO_USERS and _TRUSTED_PROXIES.

        Raises:
            ConfigError: with a line for each variable that is wrong.
        """
        problems: list[str] = []
        address = environ.get("MESHMART_HTTP_ADDRESS", f"{cls.host}:{cls.port}")
        host, _, port = address.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            problems.append(f"MESHMART_HTTP_ADDRESS={address!r}: must be host:port")
        traces = environ.get("MESHMART_TRACES_URL", "").rstrip("/")
        if traces and urlsplit(traces).scheme not in ("http", "https"):
            problems.append(f"MESHMART_TRACES_URL={traces!r}: must be an http address")
        secure = environ.get("MESHMART_SECURE_COOKIES", "false").lower()
        if secure not in ("true", "false"):
            problems.append(f"MESHMART_SECURE_COOKIES={secure!r}: must be true or false")
        demo = environ.get("MESHMART_DEMO_USERS", "false").lower()
        if demo not in ("true", "false"):
            problems.append(f"MESHMART_DEMO_USERS={demo!r}: must be true or false")
        proxies = _proxies(environ.get("MESHMART_TRUSTED_PROXIES", ""), problems)
        if problems:
            raise ConfigError(problems)
        return cls(host.strip("[]"), int(port), traces, secure == "true", demo == "true", proxies)


def _proxies(networks: str, problems: list[str]) -> Proxies:
    try:
        return Proxies.of(filter(None, (network.strip() for network in networks.split(","))))
    except ValueError as e:
        problems.append(f"MESHMART_TRUSTED_PROXIES={networks!r}: {e}")
        return Proxies()
