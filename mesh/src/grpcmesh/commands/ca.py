"""`python -m grpcmesh ca DIRECTORY SERVICE…`: certificates for development.

The CA is DIRECTORY/ca.crt and DIRECTORY/ca.key, made at the first run. Each service gets a directory that
MESH_IDENTITY_DIRECTORY accepts. A later run renews the certificates in place, as a running process notices.
"""

import argparse
import datetime
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from grpcmesh.ca import CertificateAuthority, write_atomically
from grpcmesh.commands import EX_CONFIG, fail, say
from grpcmesh.config import ConfigError, MeshConfig


def main(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> int:
    """Make or renew certificates. Return the exit status.

    Args:
        arguments: The command line after the verb.
        environ: May hold MESH_NAMESPACE, MESH_IDENTITY_TRUST_DOMAIN and MESH_CLUSTER_DOMAIN.
    """
    given = _parser().parse_args(arguments)
    try:
        config = MeshConfig.from_env(environ, service="ca")
        problems = [p for name in given.services if (p := _wrong_name(config, name))]
        if problems:
            return fail(problems, EX_CONFIG)
        return _issue(given.directory, given.services, datetime.timedelta(days=given.days), config)
    except ConfigError as e:
        return fail(e.problems, EX_CONFIG)
    except (OSError, ValueError, TypeError) as e:
        return fail([f"{given.directory}: {e}"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m grpcmesh ca",
        description="Make certificates for development, with a CA of their own. Run again to renew them.",
        epilog="Anybody who can read DIRECTORY/ca.key can be any service. For production use cert-manager or "
        "SPIRE.",
    )
    parser.add_argument("directory", type=Path, metavar="DIRECTORY", help="where they are written")
    parser.add_argument("services", nargs="+", metavar="SERVICE", help="name of a workload, such as checkout")
    parser.add_argument(
        "--days", type=_days, default=365.0, help="validity of the certificates (%(default)g)"
    )
    return parser


def _days(text: str) -> float:
    days = float(text)
    if not 0 < days <= 3650:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 3650")
    return days


def _wrong_name(config: MeshConfig, service: str) -> str:
    """Return what is wrong with a service's name; empty if nothing is."""
    try:
        plain = config.target(service).service == service
    except ValueError:
        plain = False
    return "" if plain else f"{service!r} is no name of a service: use letters, digits and dashes"


def _issue(directory: Path, services: Sequence[str], lifetime: datetime.timedelta, config: MeshConfig) -> int:
    authority = _authority(directory, config)
    for service in services:
        leaf = authority.issue(service, lifetime=lifetime)
        write_atomically(directory / service, leaf.files())
        ends = leaf.certificate.not_valid_after_utc
        say(f"{authority.spiffe_id(service)}, until {ends:%Y-%m-%d %H:%M} UTC:")
        say(f"  MESH_IDENTITY_DIRECTORY={directory / service}")
    return 0


def _authority(directory: Path, config: MeshConfig) -> CertificateAuthority:
    """Return the CA of a directory, which is made if there is none."""
    certificate, key = directory / "ca.crt", directory / "ca.key"
    domain, namespace, cluster = config.identity.trust_domain, config.namespace, config.cluster_domain
    if certificate.exists() or key.exists():
        pem, secret = certificate.read_bytes(), key.read_bytes()
        return CertificateAuthority.load(pem, secret, domain, namespace, cluster_domain=cluster)
    made = CertificateAuthority(domain, namespace, cluster_domain=cluster)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(made.key_pem)
    certificate.write_bytes(made.pem)
    return made
