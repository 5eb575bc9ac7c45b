"""Checks the TLS parameters of a PostgreSQL URL when a process starts, not when it first connects."""

import ssl
from collections.abc import Mapping
from pathlib import Path

_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
#: The modes that check the server's certificate and therefore need a root certificate.
_VERIFYING = ("verify-ca", "verify-full")
#: The parameters that name a file, each with the variable that replaces it, as in libpq.
_FILES = {
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
}
#: `sslrootcert=system`, as libpq 16 has it: the certificate authorities of the operating system.
_SYSTEM = "system"
_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_NEGOTIATIONS = ("postgres", "direct")


def problems(tls: Mapping[str, str], environ: Mapping[str, str]) -> list[str]:
    """Return what cannot work, with the offending values; passwords are not repeated.

    Args:
        tls: libpq's `ssl…` parameters.
        environ: PGSSLMODE, PGSSLROOTCERT and so on are used where a parameter is missing, as in libpq.
    """
    named = {name: tls.get(name) or environ.get(variable, "") for name, variable in _FILES.items()}
    mode = _mode(tls, environ, named["sslrootcert"])
    if mode not in _MODES:
        return [f"sslmode={mode!r}: must be one of {', '.join(_MODES)}"]
    found = [*_wrong_root(mode, named["sslrootcert"]), *_missing(named), *_wrong_protocol(mode, tls)]
    return found or ([] if mode == "disable" else _unusable(named, tls.get("sslpassword", "")))


def completed(tls: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters with what `sslrootcert=system` stands for; see `problems` for the arguments."""
    root = tls.get("sslrootcert") or environ.get(_FILES["sslrootcert"], "")
    if root != _SYSTEM:
        return dict(tls)
    return {**tls, "sslmode": _mode(tls, environ, root), "sslrootcert": system_authorities()}


def _mode(tls: Mapping[str, str], environ: Mapping[str, str], root: str) -> str:
    """Return the mode that is in force: as in libpq, `system` makes `verify-full` the default."""
    return tls.get("sslmode") or environ.get("PGSSLMODE") or ("verify-full" if root == _SYSTEM else "prefer")


def system_authorities() -> str:
    """Return the file of this system's certificate authorities; "" if it has none."""
    return ssl.get_default_verify_paths().cafile or ""


def _missing(named: Mapping[str, str]) -> list[str]:
    found = [
        f"{name}={path!r}: there is no such file"
        for name, path in named.items()
        if path and path != _SYSTEM and not Path(path).expanduser().is_file()
    ]
    if named["sslrootcert"] == _SYSTEM and not system_authorities():
        found.append("sslrootcert=system: this system has no certificate authorities; name a file")
    return found


def _wrong_root(mode: str, root: str) -> list[str]:
    if root == _SYSTEM and mode != "verify-full":
        return [
            f"sslrootcert=system needs sslmode=verify-full, not {mode}: everybody can get a certificate of a "
            "public authority"
        ]
    default = Path("~/.postgresql/root.crt").expanduser()
    if mode in _VERIFYING and not root and not default.is_file():
        return [
            f"sslmode={mode} needs the certificate of the server's CA: add sslrootcert=/path/to/ca.crt, "
            "or sslrootcert=system"
        ]
    return []


def _wrong_protocol(mode: str, tls: Mapping[str, str]) -> list[str]:
    bounds = {
        name: tls[name] for name in ("ssl_min_protocol_version", "ssl_max_protocol_version") if name in tls
    }
    found = [
        f"{name}={version!r}: must be one of {', '.join(_VERSIONS)}"
        for name, version in bounds.items()
        if version not in _VERSIONS
    ]
    if not found and [*bounds.values()] != sorted(bounds.values()):
        found.append("ssl_min_protocol_version: must not be above ssl_max_protocol_version")
    negotiation = tls.get("sslnegotiation", "postgres")
    if negotiation not in _NEGOTIATIONS:
        found.append(f"sslnegotiation={negotiation!r}: must be one of {', '.join(_NEGOTIATIONS)}")
    elif negotiation == "direct" and mode not in ("require", *_VERIFYING):
        found.append(f"sslnegotiation=direct needs sslmode=require or a stronger one, not {mode}")
    return found


def _unusable(named: Mapping[str, str], password: str) -> list[str]:
    """Load the files as the driver will."""
    context, found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), []
    for name in ("sslrootcert", "sslcrl"):
        path = named[name]
        if path and path != _SYSTEM:
            try:
                context.load_verify_locations(cafile=Path(path).expanduser())
            except OSError as e:
                found.append(f"{name}={path!r}: cannot be used: {_reason(e)}")
    if certificate := named["sslcert"]:
        key = Path(named["sslkey"] or "~/.postgresql/postgresql.key").expanduser()
        try:
            # A password is always given, or OpenSSL would ask for it on the terminal.
            context.load_cert_chain(
                Path(certificate).expanduser(), key if key.is_file() else None, lambda: password
            )
        except OSError as e:
            both = f"sslcert={certificate!r}, sslkey={named['sslkey']!r}"
            hint = "the key must be the certificate's own, and an encrypted one needs sslpassword"
            found.append(f"{both}: cannot be used: {_reason(e)}; {hint}")
    return found


def _reason(error: OSError) -> str:
    return str(getattr(error, "reason", None) or error.strerror or error)
