"""The list of recent traces."""

from collections.abc import Sequence
from html import escape

from local.traces.model import Trace
from local.traces.store import Query, TraceStore
from local.traces.style import chip, clock, hue, milliseconds, page
from local.words import plural

_STYLE = """
form { display: flex; flex-wrap: wrap; gap: .7rem 1rem; align-items: end; margin-top: 1rem; }
form > div { display: grid; gap: .2rem; }
label { font-size: var(--text-xs); font-weight: 400; color: var(--soft); margin: 0; }
form .button { padding-block: .4rem; }
form > div.row { display: flex; align-items: center; gap: .4rem; padding-bottom: .55rem; }
select, input[type=text], input[type=number] {
  font-size: var(--text-s); padding: .35rem .6rem; min-width: 8rem;
}
.table th, .table td { padding: .55rem .9rem; }
.table td { border-top: 1px solid var(--line); }
td.time { white-space: nowrap; color: var(--soft); }
td.took { min-width: 12rem; white-space: nowrap; }
td .length {
  display: inline-block; width: 110px; height: 8px; border-radius: 4px; background: var(--raised);
}
td .length i {
  display: block; height: 8px; min-width: 2px; border-radius: 4px;
  background: hsl(var(--h) var(--hue-s) var(--hue-l));
}
p.none { padding: 1.6rem; text-align: center; color: var(--soft); }
"""


_NONE = "No trace yet that matches. Buy something, or make a call with a sampled traceparent."


def render_list(store: TraceStore, query: Query, traces: Sequence[Trace]) -> str:
    """Return the page for the traces that a query found."""
    services = store.services()
    longest = max((trace.end - trace.start for trace in traces), default=0.0)
    rows = "".join(_row(trace, services, longest) for trace in traces)
    head = "".join(
        f'<th scope="col">{h}</th>' for h in ("when", "what", "took", "spans", "services", "result")
    )
    table = f'<table class="table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    none = f'<p class="none">{_NONE}</p>'
    held = f"{plural(len(store), 'trace')}, {plural(store.spans, 'span')} in memory"
    counts = f"{held}; {len(traces)} shown, newest first"
    body = f"<h1>Traces</h1>{_form(query, services)}"
    attributes = 'class="panel scroll" tabindex="0" role="region" aria-label="Traces that match"'
    body += f'<div {attributes}>{table if traces else none}</div><p class="soft num">{counts}</p>'
    return page("Traces", _STYLE, body)


def _form(query: Query, services: Sequence[str]) -> str:
    options = "".join(
        f"<option{' selected' if name == query.service else ''}>{escape(name)}</option>" for name in services
    )
    attribute = escape(" ".join(f"{k}={v}" for k, v in query.attributes[:1]))
    checked = " checked" if query.error else ""
    minimum = f"{query.min_seconds * 1000:g}" if query.min_seconds else ""
    return (
        '<form method="get"><div><label for="service">service</label>'
        f'<select id="service" name="service"><option value="">all</option>{options}</select></div>'
        '<div><label for="attr">attribute</label>'
        f'<input id="attr" type="text" name="attr" value="{attribute}" placeholder="order.id=7"></div>'
        '<div><label for="min_ms">at least, ms</label>'
        f'<input id="min_ms" type="number" name="min_ms" value="{minimum}" min="0" step="any"></div>'
        f'<div class="row"><input id="error" type="checkbox" name="error" value="1"{checked}>'
        '<label for="error">failed only</label></div><button class="button compact">Show</button></form>'
    )


def _row(trace: Trace, services: Sequence[str], longest: float) -> str:
    root, took = trace.root, trace.end - trace.start
    width = 100 * took / longest if longest else 100
    colour = f"--h:{hue(root.service, services)}"
    bar = f'<span class="length paint" style="{colour}"><i style="width:{width:.1f}%"></i></span>'
    failed = '<span class="pill bad">failed</span>' if trace.error else ""
    return (
        f'<tr><td class="time num">{clock(trace.start)}</td>'
        f'<td><a href="/trace/{escape(trace.trace_id)}">{escape(root.name)}</a></td>'
        f'<td class="took num">{bar} {milliseconds(took)}</td><td class="num">{len(trace.spans)}</td>'
        f"<td>{''.join(chip(service, services) for service in trace.services)}</td><td>{failed}</td></tr>"
    )
