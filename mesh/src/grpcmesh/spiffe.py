"""Parses SPIFFE ids (https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md, 2.1 to 2.3). Pure.

Ids can be compared as text, because they have no percent encodings, ports, user names, queries or fragments,
and a trust domain is in lower case.
"""

import functools
import re

#: The most characters of an id, and the pattern of a trust domain.
_LONGEST, _TRUST_DOMAIN = 2048, r"[a-z0-9._-]{1,255}"
#: A path segment: ASCII letters, digits, dots, dashes and underscores, but neither `.` nor `..`.
_SEGMENT = r"(?!\.\.?(?:/|\Z))[A-Za-z0-9._-]+"
_DOMAIN = re.compile(_TRUST_DOMAIN, re.ASCII)
_ID = re.compile(rf"spiffe://({_TRUST_DOMAIN})((?:/{_SEGMENT})+)", re.ASCII)
_WORKLOAD = re.compile(rf"spiffe://({_TRUST_DOMAIN})/ns/({_SEGMENT})/sa/({_SEGMENT})", re.ASCII)
#: A pattern: the segments of its path may be `*`, and the last one `**`.
_PATTERN = re.compile(rf"spiffe://{_TRUST_DOMAIN}(?:/(?:\*|{_SEGMENT}))*(?:/(?:\*\*?|{_SEGMENT}))", re.ASCII)


def is_trust_domain(text: str) -> bool:
    """Return whether the text is the name of a trust domain."""
    return _DOMAIN.fullmatch(text) is not None


def is_spiffe_id(text: str) -> bool:
    """Return whether the text is the SPIFFE id of a workload, with any path."""
    return len(text) <= _LONGEST and _ID.fullmatch(text) is not None


def split_id(text: str) -> tuple[str, str] | None:
    """Return trust domain and path of an id, with the path's leading slash; None if it is no SPIFFE id."""
    found = _ID.fullmatch(text) if len(text) <= _LONGEST else None
    return (found[1], found[2]) if found else None


def parse_workload(text: str) -> tuple[str, str, str] | None:
    """Return trust domain, namespace and service account of an id in Kubernetes' form; None for others."""
    found = _WORKLOAD.fullmatch(text) if len(text) <= _LONGEST else None
    return (found[1], found[2], found[3]) if found else None


def is_pattern(text: str) -> bool:
    """Return whether the text is a SPIFFE id, or a pattern of ids.

    In a pattern, `*` stands for one whole segment of the path, and `**` at the end for one or more. The trust
    domain is always written out.
    """
    return len(text) <= _LONGEST and _PATTERN.fullmatch(text) is not None


def domain_of(pattern: str) -> str:
    """Return the trust domain of an id or a pattern; empty if it is neither."""
    return pattern.removeprefix("spiffe://").partition("/")[0] if is_pattern(pattern) else ""


def matches(pattern: str, spiffe_id: str) -> bool:
    """Return whether an id is this id, or is of this pattern. False for what is no SPIFFE id."""
    if "*" not in pattern:
        return pattern == spiffe_id
    return is_spiffe_id(spiffe_id) and _compiled(pattern).fullmatch(spiffe_id) is not None


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Return the pattern as a regular expression, each of whose parts matches in only one way."""
    parts = {"*": r"[^/]+", "**": r".+"}
    head, *segments = pattern.removeprefix("spiffe://").split("/")
    return re.compile(
        "spiffe://" + "/".join([re.escape(head), *(parts.get(s) or re.escape(s) for s in segments)])
    )
