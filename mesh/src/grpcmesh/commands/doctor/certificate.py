"""Reads and diagnoses the certificate of this workload."""

from grpcmesh.commands.doctor.facts import OwnCertificate
from grpcmesh.config import MeshConfig
from grpcmesh.identity import Diagnosis, Material, Problem, diagnose, expected_of
from grpcmesh.identity.fields import text_of
from grpcmesh.identity.files import located, read
from grpcmesh.identity.leaf import workload_of


def own_certificate(
    config: MeshConfig, now: float, *, serves: bool
) -> tuple[OwnCertificate, Material | None]:
    """Return the facts about the certificate, and the content of its files if they can be read.

    Args:
        config: Settings of the process.
        now: Unix seconds.
        serves: Whether the workload is also a server.
    """
    directory = str(config.identity.directory)
    files = read(config.identity)
    if isinstance(files, Problem):
        path = located(config.identity, files.file)
        missing = str(path) if not path.exists() else ""
        return OwnCertificate(directory, missing, Diagnosis((files,))), None
    return _diagnosed(directory, diagnose(files, expected_of(config, serves), now)), files


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
