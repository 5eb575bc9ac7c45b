"""Fetches the keys of the identity providers in the settings, as the server does."""

import asyncio
import dataclasses

from grpcmesh.commands.doctor.facts import KeyProblem
from grpcmesh.config import AuthConfig


async def keys(config: AuthConfig, timeout: float) -> tuple[KeyProblem, ...]:
    """Return why the keys of a provider cannot be fetched, for each provider whose keys cannot.

    Args:
        config: Names the providers.
        timeout: Seconds that each of a provider's documents may take.

    Raises:
        ModuleNotFoundError: The extra `jwt` is not installed.
    """
    if not config.issuers:
        return ()
    bounded = dataclasses.replace(config, fetch_timeout=min(config.fetch_timeout, timeout))
    found = await asyncio.gather(*(_problem(bounded, name) for name in config.issuers))
    return tuple(problem for problem in found if problem is not None)


async def _problem(config: AuthConfig, name: str) -> KeyProblem | None:
    from grpcmesh.auth import KeysError
    from grpcmesh.auth.sources import source_of

    try:
        await source_of(config, name).fetch()
    except KeysError as e:
        return KeyProblem(name, e.cause, str(e))
    return None
