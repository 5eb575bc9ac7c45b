"""Looks up the name of a target, and tells whether it is the name of a headless Service."""

import asyncio
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import replace

from grpcmesh.commands.doctor.facts import NameLookup
from grpcmesh.config import ResolverConfig
from grpcmesh.resolver import Address
from grpcmesh.resolver.asking import Asking, LookupFailedError
from grpcmesh.resolver.lookup import DnsLookup
from grpcmesh.resolver.nameservers import Directory
from grpcmesh.resolver.wire import PTR, Question, encode_name, name_text
from grpcmesh.target import Target


async def look_up(
    config: ResolverConfig, target: Target, timeout: float, environ: Mapping[str, str] = os.environ
) -> tuple[NameLookup, list[Address]]:
    """Return the answer of DNS, and the endpoints in order.

    Args:
        config: Settings of the resolver.
        target: The target.
        timeout: Seconds that the look-up may take.
        environ: May hold the variables by which Kubernetes tells cluster IPs (`PRODUCT_SERVICE_HOST`).
    """
    if target.scheme == "static":
        return NameLookup(target.name, "static"), sorted(map(Address.parse, target.addresses))
    config = replace(config, kind=target.scheme or config.kind, timeout=timeout)
    config = replace(config, try_interval=min(config.try_interval, timeout))
    try:
        found = await DnsLookup(config, target.name, target.port)()
    except LookupFailedError as e:
        return NameLookup(target.name, "failed", str(e)), []
    endpoints = sorted(found.addresses)
    alone = endpoints[0].host if len(endpoints) == 1 else ""
    is_cluster_ip = alone and (
        _named(target, environ) == alone or await _is_service(config, target.name, alone, timeout / 4)
    )
    return NameLookup(target.name, found.result, cluster_ip=alone if is_cluster_ip else ""), endpoints


def _named(target: Target, environ: Mapping[str, str]) -> str:
    """Return the cluster IP that Kubernetes has put into the environment. It has none for headless ones."""
    return (
        environ.get(f"{target.service.upper().replace('-', '_')}_SERVICE_HOST", "") if target.service else ""
    )


async def _is_service(config: ResolverConfig, name: str, host: str, timeout: float) -> bool:
    """Return whether the address is that of the Service itself, instead of one of its pods.

    The DNS of Kubernetes gives a cluster IP the name of its Service, and a pod of a headless Service a name
    below that (https://github.com/kubernetes/dns/blob/master/docs/specification.md, 2.3.3 and 2.4.2).
    """
    reverse = encode_name(ipaddress.ip_address(host.partition("%")[0]).reverse_pointer)
    try:
        async with asyncio.timeout(timeout):
            answer = await Asking(Directory(config), config.try_interval)(Question(reverse, PTR), timeout)
    except (LookupFailedError, TimeoutError):
        return False
    return name.lower() in {name_text(value) for value in answer.values}
