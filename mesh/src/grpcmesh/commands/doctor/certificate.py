"""Reads and diagnoses the certificate of this workload."""

from pathlib import Path

from grpcmesh.commands.doctor.facts import OwnCertificate
from grpcmesh.config import MeshConfig
from grpcmesh.identity import (
    Cause,
    Diagnosis,
    IdentityError,
    IdentityStore,
    Material,
    Problem,
    diagnose,
    expected_of,
)
from grpcmesh.identity.fields import text_of
from grpcmesh.identity.files import located, read, with_bundles
from grpcmesh.identity.leaf import workload_of


async def own_certificate(
    config: MeshConfig, now: float, *, serves: bool, timeout: float
) -> tuple[OwnCertificate, Material | None]:
    """Return the facts about the certificate, and the content of its files if they can be read.

    Args:
        config: Settings of the process.
        now: Unix seconds.
        serves: Whether the workload is also a server.
        timeout: Seconds that the SPIFFE Workload API may take.
    """
    socket = config.identity.endpoint_socket
    directory = socket or str(config.identity.directory)
    files = await _from_workload_api(config, serves, timeout) if socket else read(config.identity)
    if isinstance(files, Problem) and socket:
        return OwnCertificate(directory, diagnosis=Diagnosis((files,))), None
    if isinstance(files, Problem):
        missing = _missing(located(config.identity, files.file))
        return OwnCertificate(directory, missing, Diagnosis((files,))), None
    return _diagnosed(directory, diagnose(files, expected_of(config, serves), now)), files


async def _from_workload_api(config: MeshConfig, serves: bool, timeout: float) -> Material | Problem:
    api = IdentityStore.of(config, serves).workload_api
    assert api is not None  # the settings name the socket
    try:
        await api.first(timeout)
        return with_bundles(config.identity, api.material())
    except IdentityError as e:
        return Problem(Cause.UNREADABLE, "tls.crt", str(e))


def _missing(path: Path) -> str:
    """Return the path if there is no such file, or an empty string if it just cannot be read."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return str(path)
    except (OSError, ValueError):
        pass  # such as a directory that this user may not search: the problem says so
    return ""


def _diagnosed(directory: str, diagnosis: Diagnosis) -> OwnCertificate:
    if diagnosis.parsed is None:
        return OwnCertificate(directory, diagnosis=diagnosis)
    leaf = diagnosis.parsed.leaf
    first = min(
        (leaf, *diagnosis.path.issuers) if diagnosis.path else (leaf,), key=lambda c: c.not_valid_after_utc
    )
    return OwnCertificate(
        directory,
        "",
        diagnosis,
        str(workload_of(leaf) or ""),
        text_of(leaf.issuer),
        first.not_valid_before_utc.timestamp(),
        first.not_valid_after_utc.timestamp(),
    )
