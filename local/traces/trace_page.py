"""The waterfall page of one trace. A row expands to its attributes and events; no script is needed."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from local.traces.model import Event, Span, Trace
from local.traces.style import chip, clock, hue, milliseconds, page

_STYLE = """
main .fall { padding: .4rem 0; overflow: hidden; }
.line { display: grid; grid-template-columns: minmax(220px, 38%) 1fr; align-items: center; }
.axis {
  color: var(--soft); font-size: var(--text-2xs); border-bottom: 1px solid var(--line); padding: 4px 0;
}
.axis .ticks { position: relative; height: 18px; margin-right: 84px; }
.axis .ticks span { position: absolute; transform: translateX(-50%); white-space: nowrap; }
.axis .ticks span:first-child { transform: none; }
.axis .first { padding-left: 18px; }
details { border-bottom: 1px solid transparent; }
details[open] { background: var(--raised); border-color: var(--line); }
summary { cursor: pointer; list-style: none; padding: 5px 0; }
summary::-webkit-details-marker { display: none; }
summary:hover { background: var(--raised); }
summary:focus-visible { outline-offset: -3px; }
.name { padding: 0 12px 0 calc(18px + var(--d) * 16px); min-width: 0; display: flex; gap: 8px; }
.name::before {
  content: ""; flex: none; width: 4px; border-radius: 2px; align-self: stretch;
  background: hsl(var(--h) var(--hue-s) var(--hue-l));
}
.name div { min-width: 0; }
.name b, .name small { display: block; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.name b { font-weight: 550; }
.name small { color: var(--soft); font-size: var(--text-2xs); }
.failed .name b { color: var(--bad); }
.track { position: relative; height: 26px; margin-right: 84px; }
.grid {
  position: absolute; inset: -13px 0; opacity: .7;
  background: repeating-linear-gradient(to right, var(--line) 0 1px, transparent 1px 20%);
}
.length {
  position: absolute; top: 6px; height: 14px; min-width: 3px; border-radius: 4px;
  background: hsl(var(--h) var(--hue-s) var(--hue-l));
}
.client .length { opacity: .5; }
.failed .length { box-shadow: 0 0 0 2px var(--bad); }
.took {
  position: absolute; top: 3px; padding-left: 7px; font-size: var(--text-xs); color: var(--soft);
  white-space: nowrap;
}
.tick {
  position: absolute; top: 2px; width: 2px; height: 22px; border-radius: 1px; background: var(--ink);
  opacity: .75;
}
.more { padding: 4px 18px 16px calc(30px + var(--d) * 16px); display: flex; flex-wrap: wrap; gap: 12px 56px; }
.more h2 { font-size: var(--text-xs); font-weight: 500; color: var(--soft); margin: 6px 0 2px; }
.more td { padding: 1px 18px 1px 0; vertical-align: top; }
.more td:first-child { color: var(--soft); white-space: nowrap; }
.services { margin-top: 14px; }
@media (max-width: 800px) {
  .line { grid-template-columns: 45% 1fr; }
  .axis .ticks span:not(:first-child):not(:last-child) { display: none; }
  .track, .axis .ticks { margin-right: 64px; }
}
"""


def render_trace(trace: Trace, services: Sequence[str]) -> str:
    """Return the page of a trace. `services` determines the colours."""
    root = trace.root
    trace_id = escape(trace.trace_id)
    legend = "".join(chip(service, services) for service in trace.services)
    rows = "".join(_row(trace, span, depth, services) for span, depth in trace.tree())
    body = (
        f'<p class="crumb"><a href="/">Traces</a> / <span class="mono soft">{trace_id}</span></p>'
        f'<h1>{escape(root.name)}</h1>{_facts(trace)}<div class="services">{legend}</div>'
        f'<div class="panel fall">{_axis(trace)}{rows}</div>'
        f'<p><a href="/api/traces/{trace_id}">JSON</a></p>'
    )
    return page(root.name, _STYLE, body)


def render_missing(trace_id: str) -> str:
    """Return the page for a trace that is not in the store."""
    why = "It was not sampled, has not arrived yet (that takes about half a second), or has left the store."
    return page(
        "No such trace",
        "",
        f'<p class="crumb"><a href="/">Traces</a></p><h1>No such trace</h1>'
        f'<p class="mono">{escape(trace_id)}</p><p>{why}</p>',
    )


def _facts(trace: Trace) -> str:
    failed = sum(span.error for span in trace.spans.values())
    facts = {
        "started": clock(trace.start, "%Y-%m-%d %H:%M:%S"),
        "took": milliseconds(trace.end - trace.start),
        "spans": str(len(trace.spans)),
        "replicas": str(len({(span.service, span.replica) for span in trace.spans.values()})),
    }
    rows = "".join(f'<div><dt>{k}</dt><dd class="num">{v}</dd></div>' for k, v in facts.items())
    pill = f'<span class="pill bad">{failed} failed</span>'
    return f'<dl class="facts">{rows}{f"<div><dt>result</dt><dd>{pill}</dd></div>" if failed else ""}</dl>'


def _axis(trace: Trace) -> str:
    total = trace.end - trace.start
    labels = [(percent, milliseconds(total * percent / 100)) for percent in range(0, 101, 20)]
    ticks = "".join(f'<span style="left:{percent}%">{label}</span>' for percent, label in labels)
    return f'<div class="line axis"><div class="first">span</div><div class="ticks num">{ticks}</div></div>'


def _row(trace: Trace, span: Span, depth: int, services: Sequence[str]) -> str:
    kinds = f"{span.kind}{' failed' if span.error else ''}"
    where = escape(f"{span.replica or span.service} · {span.kind}")
    name = f'<b title="{escape(span.name)}">{escape(_short(span.name))}</b><small>{where}</small>'
    return (
        f'<details class="{escape(kinds)}" style="--h:{hue(span.service, services)};--d:{depth}">'
        f'<summary class="line"><div class="name"><div>{name}</div></div>{_track(trace, span)}</summary>'
        f"{_more(trace, span)}</details>"
    )


def _short(name: str) -> str:
    """Return a name such as `ProductService/GetProduct`, without the package."""
    service, slash, method = name.partition("/")
    plain = bool(slash) and " " not in name and "." in service
    return f"{service.rpartition('.')[2]}/{method}" if plain else name


def _track(trace: Trace, span: Span) -> str:
    total = (trace.end - trace.start) or 1e-9
    left, width = 100 * (span.start - trace.start) / total, 100 * span.duration / total
    at = [(event.name, 100 * (event.time - trace.start) / total) for event in span.events]
    marks = "".join(
        f'<i class="tick paint" title="{escape(name)}" style="left:{x:.3f}%"></i>' for name, x in at
    )
    return (
        f'<div class="track"><div class="grid"></div>'
        f'<div class="length paint" style="left:{left:.3f}%;width:{width:.3f}%"></div>{marks}'
        f'<span class="took num" style="left:max({left + width:.3f}%, calc({left:.3f}% + 3px))">'
        f"{milliseconds(span.duration)}</span></div>"
    )


def _more(trace: Trace, span: Span) -> str:
    facts = {"span_id": span.span_id, "parent_id": span.parent_id or "none", **span.attributes}
    events = "".join(_event(span, event) for event in span.events)
    return (
        f'<div class="more"><div><h2>attributes</h2>{_table(facts)}</div>'
        f"{f'<div><h2>events</h2>{events}</div>' if events else ''}</div>"
    )


def _event(span: Span, event: Event) -> str:
    title = f"{event.name} +{milliseconds(event.time - span.start)}"
    return f'<div class="mono">{escape(title)}</div>{_table(event.attributes)}'


def _table(facts: Mapping[str, Any]) -> str:
    rows = "".join(f"<tr><td>{escape(k)}</td><td>{escape(str(v))}</td></tr>" for k, v in facts.items())
    return f'<table class="mono">{rows}</table>'
