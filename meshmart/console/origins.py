"""The origins under which a browser may know the console. Pure."""

from urllib.parse import urlsplit

from grpcmesh.admin.access import names_an_address


class Origins:
    """Decides whether a request is for the console, and which origin the console's own page then has.

    An attacker can make a host name of his own resolve to the console's address (DNS rebinding). A request
    whose host is an IP address or `localhost` is not made that way. Other host names have to be configured.

    Args:
        public: The origin of the console behind a reverse proxy, such as `https://console.example.org`; empty
            for none.

    Raises:
        ValueError: `public` is not an origin.
    """

    def __init__(self, public: str = "") -> None:
        parts = urlsplit(public)
        origin = f"{parts.scheme}://{parts.netloc}"
        if public and (parts.scheme not in ("http", "https") or not parts.netloc or public != origin):
            raise ValueError(f"{public!r} is not an origin: it must look like https://console.example.org")
        self._public, self._name = public, parts.netloc.lower()

    def of(self, host: str) -> str | None:
        """Return the origin of the console's page for a `host` header; None if the host is another one."""
        if self._name and host.lower() == self._name:
            return self._public
        return f"http://{host}" if names_an_address(host) else None

    @staticmethod
    def refusal(host: str) -> str:
        """Return why a request to this host is refused, which has no origin."""
        return f"{host[:80]!r} is not the console's host; use its address or set MESHMART_CONSOLE_ORIGIN"

    def secure(self, host: str) -> bool:
        """Return whether the browser reaches this host by https."""
        return (self.of(host) or "").startswith("https://")
