"""The origins under which a browser may know the console. Pure."""

from urllib.parse import urlsplit

from grpcmesh.admin.access import names_an_address


class Origins:
    """Decides whether a request is for the console, and which origin its own page has then.

    A page whose host is an IP address or `localhost` cannot be that of somebody else who has a name of his
    point here (DNS rebinding). Any other name has to be configured.

    Args:
        public: The origin of the console behind a reverse proxy, such as `https://console.example.org`; empty
            for none.

    Raises:
        ValueError: `public` is no origin.
    """

    def __init__(self, public: str = "") -> None:
        parts = urlsplit(public)
        origin = f"{parts.scheme}://{parts.netloc}"
        if public and (parts.scheme not in ("http", "https") or not parts.netloc or public != origin):
            raise ValueError(f"{public!r} is no origin: it must look like https://console.example.org")
        self._public, self._name = public, parts.netloc.lower()

    def of(self, host: str) -> str | None:
        """Return the origin of the console's own page, given the `host` header; None if that is another's."""
        if self._name and host.lower() == self._name:
            return self._public
        return f"http://{host}" if names_an_address(host) else None

    def secure(self, host: str) -> bool:
        """Return whether the browser reaches this host by https."""
        return (self.of(host) or "").startswith("https://")
