"""Renders the page of a process: plain HTML that loads nothing from elsewhere."""

import time
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from grpcmesh.admin.style import SCRIPT, STYLE

_GOOD = frozenset({"ready", "healthy", "serving", "ok", "active", "closed"})
_BAD = frozenset(
    {"ejected", "unhealthy", "not_serving", "failed", "transient_failure", "open", "backoff", "unknown"}
)
_KNOWN = frozenset({"service", "replica", "namespace", "certificate", "targets"})


def render(state: Mapping[str, Any], now: float | None = None) -> str:
    """Return the page as HTML.

    Args:
        state: The state of the process (see `AdminServer`).
        now: Unix seconds; None reads the clock.
    """
    service, replica = _text(state.get("service", "")), _text(state.get("replica", ""))
    rest: dict[str, Any] = {}
    for key, value in state.items():
        if key not in _KNOWN:
            rest |= value if isinstance(value, Mapping) else {key: value}
    body = [_certificate(state.get("certificate"), time.time() if now is None else now)]
    body += [_facts("This process", rest)] if rest else []
    body += [_target(target, i) for i, target in enumerate(state.get("targets", ()))]
    if not state.get("targets"):
        body.append(
            '<section class="panel"><p class="none">This process calls no other service.</p></section>'
        )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><link rel="icon" href="data:,">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{service} {replica}</title><style>{STYLE}</style></head>"
        '<body class="dense"><header class="head">'
        f'<div class="wrap bar">{_head(service, replica)}</div></header><main class="wrap">'
        f'<div id="state">{"".join(body)}</div></main>'
        f'<script type="module">{SCRIPT}</script></body></html>'
    )


def _head(service: str, replica: str) -> str:
    return (
        f"<h1>{service} <small>{replica}</small></h1>"
        '<button type="button" class="button quiet compact" id="pause" aria-pressed="false" hidden>'
        "Pause</button>"
        '<nav class="nav" aria-label="This process"><a href="/metrics">metrics</a>'
        '<a href="/state.json">state.json</a><a href="/settings.json">settings.json</a></nav>'
    )


def _certificate(certificate: Mapping[str, Any] | None, now: float) -> str:
    if not certificate:
        return (
            '<section class="panel"><h2>Certificate</h2>'
            '<p class="none">None: this process speaks plaintext.</p></section>'
        )
    facts = dict(certificate)
    not_after = facts.pop("not_after", None)
    if not_after is not None:
        left = float(not_after) - now
        kind = "bad" if left <= 0 else "warn" if left < 300 else "good"
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(float(not_after)))
        facts["expires"] = _Html(f'{when} <span class="pill {kind}">{_span(left)}</span>')
    return _facts("Certificate", facts)


def _facts(title: str, facts: Mapping[str, Any]) -> str:
    rows = "".join(f"<div><dt>{_label(k)}</dt><dd>{_text(v)}</dd></div>" for k, v in facts.items())
    return f'<section class="panel"><h2>{escape(title)}</h2><dl class="facts">{rows}</dl></section>'


def _target(target: Mapping[str, Any], number: int) -> str:
    endpoints: Sequence[Mapping[str, Any]] = target.get("endpoints", ())
    notes = {k: v for k, v in target.items() if k not in ("target", "endpoints") and v not in ("", {})}
    note = " · ".join(f"{_label(k)} {_text(v)}" for k, v in notes.items())
    name = _text(target.get("target", ""))
    inner = _table(endpoints, name, number) if endpoints else '<p class="none">No endpoints.</p>'
    return f'<section class="panel"><h2>→ {name} <span>{note}</span></h2>{inner}</section>'


def _table(endpoints: Sequence[Mapping[str, Any]], name: str, number: int) -> str:
    # A column that is empty for all says nothing.
    columns = list(dict.fromkeys(key for e in endpoints for key, value in e.items() if value not in ("", {})))
    picks = sum(endpoint.get("picks", 0) for endpoint in endpoints)
    shown = [*map(_label, columns), *(["share"] if picks else [])]
    head = "".join(f'<th scope="col">{column}</th>' for column in shown)
    rows = []
    for endpoint in endpoints:
        cells = "".join(f"<td>{_cell(column, endpoint.get(column, ''))}</td>" for column in columns)
        rows.append(f"<tr>{cells}{_share(endpoint.get('picks', 0), picks) if picks else ''}</tr>")
    region = (
        f'class="scroll" id="target-{number}" tabindex="0" role="region" aria-label="Endpoints of {name}"'
    )
    table = f'<table class="table"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f"<div {region}>{table}</div>"


def _cell(column: str, value: Any) -> str:
    if column not in ("state", "health"):
        return _text(value)
    name = str(value).lower()
    kind = "good" if name in _GOOD else "bad" if name in _BAD else ""
    return f'<span class="pill {kind}">{_text(value)}</span>'


def _share(picks: int, total: int) -> str:
    percent = 100 * picks / total
    bar = f'<span class="share paint"><i class="paint" style="width:{percent:.1f}%"></i></span>'
    return f"<td>{bar}{percent:.1f} %</td>"


class _Html(str):
    """Text that is HTML already, and is not escaped."""

    __slots__ = ()


def _label(key: str) -> str:
    return escape(key.replace("_", " "))


def _text(value: Any) -> str:
    if isinstance(value, _Html):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    if isinstance(value, Mapping):
        return ", ".join(f"{_text(k)} {_text(v)}" for k, v in value.items()) or "–"
    return escape(str(value))


def _span(seconds: float) -> str:
    if seconds <= 0:
        return "expired"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} left"
    return f"{seconds:.0f} s left"
