"""The admission priority of every method: checkout comes before browsing when a service is overloaded.

It is one table for all services, since a checkout passes through several of them: their manifests say it. The
operator's MESH_ADMISSION_PRIORITIES overrides it, method by method. See mesh/docs/admission.md.
"""

from collections.abc import Mapping

from services.manifest import DEFAULT, Manifests, shop


def priorities(manifests: Manifests) -> Mapping[str, str]:
    """Return the priority of each method by its full name. Methods that are not in it have `default`."""
    return {
        f"{manifest.service}/{name}": method.priority
        for manifest in manifests.values()
        for name, method in manifest.methods.items()
        if method.priority != DEFAULT
    }


PRIORITIES: Mapping[str, str] = priorities(shop())
