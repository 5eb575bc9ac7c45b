"""Resolves names to addresses, by DNS (asked directly) or a fixed list. See mesh/docs/resolver.md."""

from grpcmesh.resolver.address import Address, Resolver, StaticResolver
from grpcmesh.resolver.dns import DnsResolver

__all__ = ["Address", "DnsResolver", "Resolver", "StaticResolver"]
