"""Parses targets of channels: a service's short name or a full DNS name, with or without a port, or a URI of
gRPC's form (https://github.com/grpc/grpc/blob/master/doc/naming.md). Pure.
"""

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Literal, Self, cast

#: A DNS label of a host name (RFC 1123). Underscores are allowed because some local resolvers use them.
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
#: The name of a zone, in the form of Kubernetes label values.
_ZONE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII)
#: The most characters of a full name, without the trailing dot (RFC 1035, section 2.3.4).
_LONGEST = 253
#: The most characters of the scope of an IPv6 address, which is the name or the number of an interface.
_LONGEST_SCOPE = 63
_FORMS = (
    "use SERVICE, SERVICE.NAMESPACE or a full name such as product.shop.svc.cluster.local, and :PORT; "
    "or dns:///NAME, srv:///NAME, static:///ADDRESS:PORT,ADDRESS:PORT"
)
#: How a target says where its endpoints are found.
Scheme = Literal["", "dns", "srv", "static"]
STATIC = "static:///"


class TargetError(ValueError):
    """Raised for a malformed target. The message names it and says what is expected."""


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed target.

    Args:
        name: Fully qualified name in lower case, with the trailing dot. Empty for addresses without a name.
        port: The port, or None if the target has none.
        service: Name of the service, if it is one of this cluster; otherwise empty.
        namespace: Namespace of that service; otherwise empty.
        scheme: How the endpoints are found: by A and AAAA records, by SRV records, or not at all because
            `addresses` are the endpoints. Empty: as the settings say.
        addresses: The endpoints of the scheme `static`, such as `127.0.0.1:50051`.
    """

    name: str
    port: int | None = None
    service: str = ""
    namespace: str = ""
    scheme: Scheme = ""
    addresses: tuple[str, ...] = ()

    @property
    def in_cluster(self) -> bool:
        """Return whether this is a service of the cluster, whose servers have to be members of the mesh."""
        return bool(self.service)

    @property
    def uri(self) -> str:
        """Return the target as gRPC writes it, such as `dns:///product.shop.svc.cluster.local:50051`."""
        name = self.name.removesuffix(".")
        return f"dns:///{name}" if self.port is None else f"dns:///{name}:{self.port}"

    @classmethod
    def parse(cls, text: str, namespace: str, cluster_domain: str) -> Self:
        """Parse a target.

        `product` is the service with that name in `namespace`; `product.shop` is the one in the namespace
        `shop`. Names with three or more labels, such as `product.shop.svc`, and names with a trailing dot are
        full names. `dns:///` and `srv:///` before any of these say which records are looked up.
        `static:///127.0.0.1:50051,127.0.0.2:50051` are addresses.

        Args:
            text: The target of a channel.
            namespace: Namespace of this process.
            cluster_domain: Suffix of service names, such as `cluster.local`.

        Raises:
            TargetError: The text has none of these forms.
        """
        scheme, rest = _scheme(text)
        if scheme == "static":
            return cls("", scheme=scheme, addresses=_addresses(text, rest))
        found = cls._parse_name(rest, namespace, cluster_domain)
        return replace(found, scheme=scheme) if scheme else found

    @classmethod
    def _parse_name(cls, text: str, namespace: str, cluster_domain: str) -> Self:
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
        ValueError: The text has another form.
    """
    host, port = _split_address(text)
    if port is None and default_port is None:
        raise ValueError(f"{text!r} has no port")
    address, _, scope = host.partition("%")
    ipaddress.ip_address(address)  # raises ValueError, which names the text
    if not scope.isascii() or len(scope) > _LONGEST_SCOPE:
        raise ValueError(f"{text!r} names no network interface")  # the socket module raises UnicodeError
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
    """Parse a port from 1 to 65535. Raises ValueError for other text."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536):
        raise ValueError(f"{text!r} is not a port from 1 to 65535")
    return int(text)


def _scheme(text: str) -> tuple[Scheme, str]:
    """Return the scheme of a target, and what follows it."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        return "", text
    if scheme not in ("dns", "srv", "static"):
        raise TargetError(f"target {text!r}: the scheme {scheme!r} is not supported; {_FORMS}")
    authority, slash, path = rest.partition("/")
    if not slash:
        raise TargetError(f"target {text!r}: write {scheme}:///{authority}, with three slashes")
    if authority:
        raise TargetError(
            f"target {text!r}: {authority!r}: the nameserver is MESH_RESOLVER_NAMESERVER, for all targets; "
            f"write {scheme}:///{path}"
        )
    return cast(Scheme, scheme), path


def _addresses(text: str, listed: str) -> tuple[str, ...]:
    parts = [part.strip() for part in listed.split(",")]
    try:
        for part in parts:
            parse_endpoint(part)
    except ValueError as e:
        raise TargetError(f"target {text!r}: {e}; use IP addresses, {STATIC}ADDRESS:PORT,ADDRESS:PORT") from e
    return tuple(parts)


def _split(text: str) -> tuple[str, int | None]:
    host, colon, port = text.rpartition(":")
    if _is_address(text) or _is_address(host):
        raise TargetError(f"target {text!r} is an address; use {STATIC}ADDRESS:PORT")
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


def is_label(text: str) -> bool:
    """Return whether a text is a label of a DNS name, such as the name of a namespace."""
    return _LABEL.fullmatch(text.lower()) is not None


def is_zone(text: str) -> bool:
    """Return whether a text is a well-formed name of a zone."""
    return _ZONE.fullmatch(text) is not None
