"""Fakes that the server's unit tests hand to layers instead of a call over a socket."""

from collections.abc import Mapping
from typing import Any

import grpc

from grpcmesh.call import Kind, Method, ServerCall, Workload
from grpcmesh.config import AuthConfig

#: The settings of tokens whose keys the program provides.
TOKENS = AuthConfig(issuer="https://issuer.example.com", audience="shop")


class FakeContext:
    """A fake of the parts of grpc.aio.ServicerContext that layers and the handler wrapper use."""

    def __init__(
        self,
        remaining: float | None = None,
        auth: Mapping[str, list[bytes]] | None = None,
        peer: str = "ipv4:127.0.0.1:40000",
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.remaining, self.auth, self.address, self.metadata = remaining, auth or {}, peer, metadata
        self.trailing: tuple[tuple[str, Any], ...] = ()
        self.aborted: tuple[Any, ...] = ()
        self.auth_reads = 0
        self.own_code: grpc.StatusCode | None = None

    def time_remaining(self) -> float | None:
        return self.remaining

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self.metadata

    def set_trailing_metadata(self, trailing: tuple[tuple[str, Any], ...]) -> None:
        self.trailing = trailing

    def trailing_metadata(self) -> tuple[tuple[str, Any], ...]:
        return self.trailing

    def code(self) -> grpc.StatusCode | None:
        return self.own_code

    def done(self) -> bool:
        return bool(self.aborted)

    def peer(self) -> str:
        return self.address

    def peer_identities(self) -> list[bytes]:
        return self.auth.get("x509_subject_alternative_name", [])

    def auth_context(self) -> Mapping[str, list[bytes]]:
        self.auth_reads += 1
        return self.auth

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing: Any = ()) -> None:
        self.aborted = (code, details, trailing)
        self.own_code = code
        raise grpc.aio.AbortError


def call(
    path: str = "/shop.Shop/Buy",
    context: Any = None,
    workload: Workload | None = None,
    **metadata: str,
) -> ServerCall:
    """Return a call that has just begun."""
    method = Method.parse(path, Kind.UNARY)
    return ServerCall(method, context or FakeContext(), 0.0, metadata, workload=workload)


def workload(service: str, namespace: str = "default", trust_domain: str = "cluster.local") -> Workload:
    return Workload(trust_domain, namespace, service)


def samples(source: Any) -> dict[str, float]:
    """Return a source's samples by `name{label=value,…}`."""
    found = {}
    for family in source.collect() if hasattr(source, "collect") else source.metrics():
        for sample in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found
