"""Resolves names to addresses, by DNS (asked directly) or a fixed list.

May be imported by `grpcmesh.client`, `grpcmesh.mesh`, `grpcmesh.commands`, `grpcmesh.testing`, `services`,
`meshmart`. Start reading in `dns`. See mesh/docs/resolver.md.
"""

from dataclasses import replace

from grpcmesh.config import ResolverConfig
from grpcmesh.resolver.address import Address, Resolver, StaticResolver
from grpcmesh.resolver.dns import DnsResolver
from grpcmesh.target import Target

__all__ = ["Address", "DnsResolver", "Resolver", "StaticResolver", "resolver_of"]


def resolver_of(config: ResolverConfig, target: Target) -> Resolver:
    """Return the resolver for a target. Its scheme and port override those of the configuration."""
    if target.scheme == "static":
        return StaticResolver(target.addresses)
    if target.scheme:
        config = replace(config, kind=target.scheme)
    return DnsResolver(config, target.name, target.port)
