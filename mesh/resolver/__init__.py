"""How a name becomes addresses: DNS asked directly, or a fixed list. See docs/mesh/resolver.md."""

from mesh.resolver.address import Address, Resolver, StaticResolver
from mesh.resolver.dns import DnsResolver

__all__ = ["Address", "DnsResolver", "Resolver", "StaticResolver"]
