"""What a channel is opened to: a service's short name or a full DNS name, with or without a port. Pure."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Self

#: A DNS label as hosts carry them (RFC 1123), and underscores, which some local resolvers use.
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
#: A zone, as Kubernetes writes the values of its labels.
_ZONE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII)
#: Characters of a whole name, without the trailing dot (RFC 1035, section 2.3.4).
_LONGEST = 253
_FORMS = "use SERVICE, SERVICE.NAMESPACE or a full name such as product.shop.svc.cluster.local, and :PORT"


class TargetError(ValueError):
    """A target cannot be understood. The message names it and says what is expected."""


@dataclass(frozen=True, slots=True)
class Target:
    """A target, understood.

    Args:
        name: Fully qualified, in lower case, with the trailing dot.
        port: The port that was named, or None.
        service, namespace: Those of a service of this cluster; both empty for any other name.
    """

    name: str
    port: int | None = None
    service: str = ""
    namespace: str = ""

    @property
    def in_cluster(self) -> bool:
        """Whether this is a service of the cluster, so that a member of the mesh is expected behind it."""
        return bool(self.service)

    @classmethod
    def parse(cls, text: str, namespace: str, cluster_domain: str) -> Self:
        """Read a target.

        `product` is the service of that name in `namespace`, `product.shop` the one in the namespace `shop`.
        `product.shop.svc`, a name of three or more labels and any name with a trailing dot are full names.

        Args:
            text: As it was given to `mesh.channel`.
            namespace: That of this process.
            cluster_domain: Suffix of service names, `cluster.local`.

        Raises:
            TargetError: it is none of these.
        """
        host, port = _split(text)
        labels = _labels(text, host)
        if len(labels) <= 2 and not host.endswith("."):
            service, *others = labels
            where = others[0] if others else namespace
            return cls(f"{service}.{where}.svc.{cluster_domain}.", port, service, where)
        name = ".".join(labels)
        if labels[-1] == "svc" and not host.endswith("."):
            name = f"{name}.{cluster_domain}"
        return cls(f"{name}.", port, *_in_cluster(name, cluster_domain))


def parse_endpoint(text: str, default_port: int | None = None) -> tuple[str, int]:
    """Return the IP address and the port of `127.0.0.1:53`, `[::1]:53` or, with a default port, `::1`.

    Raises:
        ValueError: the text is not of that form.
    """
    host, port = _split_address(text)
    if port is None and default_port is None:
        raise ValueError(f"{text!r} has no port")
    address, _, scope = host.partition("%")
    ipaddress.ip_address(address)  # raises ValueError, which names the text
    return f"{address}%{scope}" if scope else address, default_port or 0 if port is None else port


def _split_address(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is not [ADDRESS]:PORT")
        return host, parse_port(rest[1:]) if rest else None
    if text.count(":") > 1:
        return text, None
    host, colon, port = text.partition(":")
    return host, parse_port(port) if colon else None


def parse_port(text: str) -> int:
    """Return a port from 1 to 65535. Raises ValueError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536):
        raise ValueError(f"{text!r} is not a port from 1 to 65535")
    return int(text)


def _split(text: str) -> tuple[str, int | None]:
    if "://" in text:
        raise TargetError(f"target {text!r}: schemes are not supported; {_FORMS}")
    host, colon, port = text.rpartition(":")
    if _is_address(text) or _is_address(host):
        raise TargetError(
            f"target {text!r} is an address; give the channel a StaticResolver([{text!r}]) instead"
        )
    try:
        return (host, parse_port(port)) if colon else (text, None)
    except ValueError as e:
        raise TargetError(f"target {text!r}: {e}") from e


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True


def _labels(text: str, host: str) -> list[str]:
    name = host.removesuffix(".").lower()
    if len(name) > _LONGEST:
        raise TargetError(f"target {text[:40]!r}…: a name has at most {_LONGEST} characters")
    labels = name.split(".")
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise TargetError(f"target {text!r}: {label!r} is not a label of a DNS name; {_FORMS}")
    return labels


def _in_cluster(name: str, cluster_domain: str) -> tuple[str, str]:
    inner = name.removesuffix(f".svc.{cluster_domain.lower()}")
    labels = inner.split(".")
    if inner == name or len(labels) < 2:
        return "", ""
    return labels[-2], labels[-1]


def is_zone(text: str) -> bool:
    """Return whether a text may name a zone."""
    return _ZONE.fullmatch(text) is not None
