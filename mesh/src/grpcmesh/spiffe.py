"""SPIFFE ids (https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md, 2.1 to 2.3). Pure.

They are compared as texts: there are no percent encodings, ports, user names, queries or fragments, and a
trust domain is written in lower case.
"""

import re

#: Characters of an id, and of its trust domain.
_LONGEST, _TRUST_DOMAIN = 2048, r"[a-z0-9._-]{1,255}"
#: ASCII letters, digits, dots, dashes and underscores, and neither `.` nor `..`.
_SEGMENT = r"(?!\.\.?(?:/|\Z))[A-Za-z0-9._-]+"
_ID = re.compile(rf"spiffe://{_TRUST_DOMAIN}(?:/{_SEGMENT})+", re.ASCII)
_WORKLOAD = re.compile(rf"spiffe://({_TRUST_DOMAIN})/ns/({_SEGMENT})/sa/({_SEGMENT})", re.ASCII)


def is_spiffe_id(text: str) -> bool:
    """Return whether the text is the SPIFFE id of a workload, with any path."""
    return len(text) <= _LONGEST and _ID.fullmatch(text) is not None


def parse_workload(text: str) -> tuple[str, str, str] | None:
    """Trust domain, namespace and service account of an id of Kubernetes' form; None for other texts."""
    found = _WORKLOAD.fullmatch(text) if len(text) <= _LONGEST else None
    return (found[1], found[2], found[3]) if found else None
