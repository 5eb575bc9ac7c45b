"""Reads an OTLP endpoint. Apart from `grpcmesh.telemetry.otlp`, because it needs no OpenTelemetry."""

from urllib.parse import urlsplit


def address_of(endpoint: str) -> tuple[str, bool]:
    """Return host and port of an endpoint, and whether it is to be reached over TLS.

    Args:
        endpoint: `http://host:port` (no TLS), `https://host:port`, or `host:port` (no TLS).
    """
    url = urlsplit(endpoint if "//" in endpoint else f"http://{endpoint}")
    return url.netloc, url.scheme == "https"
