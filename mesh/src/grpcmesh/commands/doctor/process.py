"""Looks at the process of this workload: its policy file, its own metrics, and its collector."""

import asyncio
import urllib.parse
from collections.abc import Mapping

import grpc
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from grpcmesh.authz import PolicyError, PolicyStore
from grpcmesh.authz.policy import Policy
from grpcmesh.commands.doctor.facts import Process
from grpcmesh.config import AdminConfig, AuthzConfig
from grpcmesh.target import parse_endpoint
from grpcmesh.telemetry.otlp_endpoint import address_of

#: How the services begin that are not an application's: the library's, and that of unknown paths.
_INFRASTRUCTURE = ("grpc.", "mesh.fault.", "unknown")
#: The most bytes of the metrics.
_LARGEST = 16 * 1024 * 1024


class NotReadableError(Exception):
    """Raised if the metrics of this process cannot be read. The message says why."""


def policy(config: AuthzConfig) -> tuple[Policy, str]:
    """Return the policy of this workload, and why its file cannot be used; empty if it can."""
    store = PolicyStore(config)
    try:
        store.load()
    except PolicyError as e:
        return store.current, str(e)
    return store.current, ""


async def process(config: AdminConfig, workload: str, rules: Policy, timeout: float) -> Process:
    """Return what the metrics of the process of this workload tell.

    Args:
        config: Says where they are served.
        workload: The SPIFFE id of the process; empty in plaintext mode.
        rules: The policy of this workload.
        timeout: Seconds that it may take.

    Raises:
        NotReadableError: They cannot be read, or another process has that port.
    """
    if not config.address:
        raise NotReadableError("the admin port is switched off (MESH_ADMIN_ADDRESS)")
    try:
        async with asyncio.timeout(timeout):
            text = await _metrics(config)
        return _read(text, workload, rules)
    except TimeoutError:
        raise NotReadableError(f"{config.address} does not answer within {timeout:g} s") from None
    except (OSError, ValueError, ArithmeticError) as e:
        raise NotReadableError(f"{config.address}: {e}") from e


async def _metrics(config: AdminConfig) -> str:
    host, port = parse_endpoint(config.address.replace("localhost", "127.0.0.1"))
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    token = config.token_file.read_text().strip() if config.token_file and config.metrics_token else ""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        bearer = f"Authorization: Bearer {token}\r\n" if token else ""
        at = f"[{host}]" if ":" in host else host
        # HTTP/1.0: the answer ends with the connection, and is not chunked.
        writer.write(f"GET /metrics HTTP/1.0\r\nHost: {at}:{port}\r\n{bearer}\r\n".encode())
        return _body(await _all(reader))
    finally:
        writer.transport.abort()


async def _all(reader: asyncio.StreamReader) -> bytes:
    received = bytearray()
    while more := await reader.read(65536):
        received += more
        if len(received) > _LARGEST:
            raise ValueError(f"more than {_LARGEST} bytes of metrics")
    return bytes(received)


def _body(answer: bytes) -> str:
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b"\r\n")[0].decode("ascii", "replace")[:100]
    if " 200" not in status:
        raise ValueError(f"/metrics answers {status!r}")
    return body.decode()


def _read(text: str, workload: str, rules: Policy) -> Process:
    families = {family.name: family for family in text_string_to_metric_families(text)}
    owners = [labels.get("workload", "") for labels, _ in _samples(families, "mesh_certificate_info")]
    if owners != ([workload] if workload else []):
        raise ValueError(f"the port is that of {owners[0] if owners else 'a process without certificate'}")
    denials = {
        (labels.get("caller", ""), labels.get("method", "")): int(value)
        for labels, value in _samples(families, "mesh_authz_denials")
        if value
    }
    keys = [int(value) for _, value in _samples(families, "mesh_auth_keys")]
    failed = [
        v for labels, v in _samples(families, "mesh_auth_key_fetches") if labels.get("result") == "error"
    ]
    users = _serves(families) and any(not rule.optional for rule in rules.users.values())
    return Process(denials, keys[0] if keys else None, int(sum(failed)), users)


def _serves(families: Mapping[str, Metric]) -> bool:
    """Return whether the process serves methods of an application."""
    services = {labels.get("grpc_service", "") for labels, _ in _samples(families, "grpc_server_started")}
    return any(not service.startswith(_INFRASTRUCTURE) for service in services)


def _samples(families: Mapping[str, Metric], name: str) -> list[tuple[Mapping[str, str], float]]:
    family = families.get(name)
    found = family.samples if family else []
    return [(s.labels, s.value) for s in found if s.name in (name, f"{name}_total")]


async def exporter(endpoint: str, timeout: float) -> str:
    """Return why an OTLP endpoint cannot be reached, or an empty string.

    Args:
        endpoint: `http://host:port`, `https://host:port` or `host:port`.
        timeout: Seconds that the connection may take.
    """
    try:
        address, is_secure = address_of(endpoint)
        _require_host(address)
    except ValueError:
        return "is no address of a collector, such as http://collector:4317: spans are lost"
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    credentials = grpc.ssl_channel_credentials()
    channel = (
        grpc.aio.secure_channel(address, credentials, options)
        if is_secure
        else grpc.aio.insecure_channel(address, options)
    )
    async with channel:
        try:
            await asyncio.wait_for(channel.channel_ready(), timeout)
        except TimeoutError:
            return f"cannot be connected to within {timeout:g} s: spans are lost"
    return ""


def _require_host(address: str) -> None:
    """Raise ValueError unless gRPC can connect to an address. To another one, it tries for good."""
    found = urllib.parse.urlsplit(f"//{address}")
    if not found.hostname or found.port == 0 or any(map(str.isspace, address)):
        raise ValueError(address)
