"""Parses SPIFFE ids (https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md, 2.1 to 2.3). Pure.

Ids can be compared as text, because they have no percent encodings, ports, user names, queries or fragments,
and a trust domain is in lower case.
"""

import re

#: The most characters of an id, and the pattern of a trust domain.
_LONGEST, _TRUST_DOMAIN = 2048, r"[a-z0-9._-]{1,255}"
#: A path segment: ASCII letters, digits, dots, dashes and underscores, but neither `.` nor `..`.
_SEGMENT = r"(?!\.\.?(?:/|\Z))[A-Za-z0-9._-]+"
_ID = re.compile(rf"spiffe://{_TRUST_DOMAIN}(?:/{_SEGMENT})+", re.ASCII)
_WORKLOAD = re.compile(rf"spiffe://({_TRUST_DOMAIN})/ns/({_SEGMENT})/sa/({_SEGMENT})", re.ASCII)


def is_spiffe_id(text: str) -> bool:
    """Return whether the text is the SPIFFE id of a workload, with any path."""
    return len(text) <= _LONGEST and _ID.fullmatch(text) is not None


def parse_workload(text: str) -> tuple[str, str, str] | None:
    """Return trust domain, namespace and service account of an id in Kubernetes' form; None for others."""
    found = _WORKLOAD.fullmatch(text) if len(text) <= _LONGEST else None
    return (found[1], found[2], found[3]) if found else None
