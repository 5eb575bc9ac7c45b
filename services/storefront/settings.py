"""The storefront's own settings, `MESHMART_*`, in addition to those of the mesh."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from grpcmesh.config import ConfigError
from grpcmesh.http import Proxies


@dataclass(frozen=True)
class Settings:
    host: str = "127.0.0.1"
    """The address on which pages are served."""
    port: int = 8080
    """The port; 0 takes any free one."""
    traces_url: str = ""
    """The base URL of the trace store's pages: a trace is at `/trace/ID` under it.

    If empty, there are no links.
    """
    secure_cookies: bool = False
    """Whether to send cookies over https only, and HSTS.

    Off for http://127.0.0.1; on behind anything that speaks TLS.
    """
    demo_users: bool = False
    """Whether the log-in page shows the demo users and their passwords."""
    proxies: Proxies = field(default_factory=Proxies)
    """The peers that may name the client they forward for, by X-Forwarded-For or a PROXY line."""
    narrow_tokens: bool = True
    """Whether each service is sent a token that only it accepts.

    Off during an upgrade from services that cannot verify such tokens.
    """

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read MESHMART_HTTP_ADDRESS, _TRACES_URL, _TRUSTED_PROXIES, _SECURE_COOKIES, _DEMO_USERS and
        _NARROW_TOKENS.

        Raises:
            ConfigError: with a line for each invalid variable.
        """
        problems: list[str] = []
        address = environ.get("MESHMART_HTTP_ADDRESS", f"{cls.host}:{cls.port}")
        host, _, port = address.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            problems.append(f"MESHMART_HTTP_ADDRESS={address!r}: must be host:port")
        traces = environ.get("MESHMART_TRACES_URL", "").rstrip("/")
        if traces and urlsplit(traces).scheme not in ("http", "https"):
            problems.append(f"MESHMART_TRACES_URL={traces!r}: must be an http address")
        secure, demo, narrow = (
            _switch(environ, f"MESHMART_{name}", default, problems)
            for name, default in (("SECURE_COOKIES", False), ("DEMO_USERS", False), ("NARROW_TOKENS", True))
        )
        proxies = _proxies(environ.get("MESHMART_TRUSTED_PROXIES", ""), problems)
        if problems:
            raise ConfigError(problems)
        return cls(host.strip("[]"), int(port), traces, secure, demo, proxies, narrow)


def _switch(environ: Mapping[str, str], name: str, default: bool, problems: list[str]) -> bool:
    value = environ.get(name, str(default)).lower()
    if value not in ("true", "false"):
        problems.append(f"{name}={value!r}: must be true or false")
    return value == "true"


def _proxies(networks: str, problems: list[str]) -> Proxies:
    try:
        return Proxies.of(filter(None, (network.strip() for network in networks.split(","))))
    except ValueError as e:
        problems.append(f"MESHMART_TRUSTED_PROXIES={networks!r}: {e}")
        return Proxies()
