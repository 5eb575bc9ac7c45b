"""The storefront's own settings, `MESHMART_*`, beside those of the mesh."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from grpcmesh.config import ConfigError


@dataclass(frozen=True)
class Settings:
    host: str = "127.0.0.1"
    """Where the page is served."""
    port: int = 8080
    """0: any free port."""
    traces_url: str = ""
    """Base address of the trace store's pages; a trace lies at `/trace/ID` under it. Empty: no links."""
    secure_cookies: bool = False
    """Cookies for https only. Off for http://127.0.0.1; on behind anything that speaks TLS."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Reads MESHMART_HTTP_ADDRESS, MESHMART_TRACES_URL and MESHMART_SECURE_COOKIES.

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
        if problems:
            raise ConfigError(problems)
        return cls(host.strip("[]"), int(port), traces, secure == "true")
