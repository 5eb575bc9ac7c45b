"""The list of recent traces."""

from collections.abc import Sequence
from html import escape

from local.traces.model import Trace
from local.traces.store import Query, TraceStore
from local.traces.style import chip, clock, hue, milliseconds, page

_STYLE = """
form { display: flex; flex-wrap: wrap; gap: 10px 14px; align-items: end; margin-top: 16px; }
label { display: grid; gap: 2px; font-size: 12.5px; color: var(--soft); }
label.row { display: flex; align-items: center; gap: 6px; padding-bottom: 7px; }
select, input[type=text], input[type=number] {
  font: inherit; font-size: 14px; color: var(--ink); background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; padding: 5px 9px; min-width: 130px;
}
button {
  font: inherit; font-size: 14px; color: #fff; background: #3a6bd8; border: 0; border-radius: 8px;
  padding: 7px 18px; cursor: pointer;
}
.list { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 500; font-size: 12.5px; color: var(--soft); padding: 9px 14px; }
td { padding: 9px 14px; border-top: 1px solid var(--line); }
tbody tr:hover { background: var(--hover); }
td.time { white-space: nowrap; color: var(--soft); }
td.took { min-width: 190px; white-space: nowrap; }
td .bar { display: inline-block; width: 110px; height: 8px; border-radius: 4px; background: var(--track); }
td .bar i {
  display: block; height: 8px; min-width: 2px; border-radius: 4px;
  background: hsl(var(--h) var(--s) var(--l));
}
p.none { padding: 26px; margin: 0; text-align: center; color: var(--soft); }
"""


_NONE = "No trace yet that matches. Buy something, or make a call with a sampled traceparent."


def render_list(store: TraceStore, query: Query, traces: Sequence[Trace]) -> str:
    """Return the page for the traces that a query found."""
    services = store.services()
    longest = max((trace.end - trace.start for trace in traces), default=0.0)
    rows = "".join(_row(trace, services, longest) for trace in traces)
    head = "".join(f"<th>{h}</th>" for h in ("when", "what", "took", "spans", "services", ""))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    none = f'<p class="none">{_NONE}</p>'
    counts = f"{len(store)} traces, {store.spans} spans in memory; {len(traces)} shown, newest first"
    body = f"<h1>Traces</h1>{_form(query, services)}"
    body += f'<div class="card list">{table if traces else none}</div><p class="soft num">{counts}</p>'
    return page("Traces", _STYLE, body)


def _form(query: Query, services: Sequence[str]) -> str:
    options = "".join(
        f"<option{' selected' if name == query.service else ''}>{escape(name)}</option>" for name in services
    )
    attribute = escape(" ".join(f"{k}={v}" for k, v in query.attributes[:1]))
    checked = " checked" if query.error else ""
    minimum = f"{query.min_seconds * 1000:g}" if query.min_seconds else ""
    return (
        '<form method="get"><label>service<select name="service"><option value="">all</option>'
        f"{options}</select></label>"
        f'<label>attribute<input type="text" name="attr" value="{attribute}" placeholder="order.id=7">'
        f'</label><label>at least, ms<input type="number" name="min_ms" value="{minimum}" min="0" step="any">'
        f'</label><label class="row"><input type="checkbox" name="error" value="1"{checked}>failed only'
        "</label><button>Show</button></form>"
    )


def _row(trace: Trace, services: Sequence[str], longest: float) -> str:
    root, took = trace.root, trace.end - trace.start
    width = 100 * took / longest if longest else 100
    colour = f"--h:{hue(root.service, services)}"
    bar = f'<span class="bar" style="{colour}"><i style="width:{width:.1f}%"></i></span>'
    failed = '<span class="pill bad">failed</span>' if trace.error else ""
    return (
        f'<tr><td class="time num">{clock(trace.start)}</td>'
        f'<td><a href="/trace/{escape(trace.trace_id)}">{escape(root.name)}</a></td>'
        f'<td class="took num">{bar} {milliseconds(took)}</td><td class="num">{len(trace.spans)}</td>'
        f"<td>{''.join(chip(service, services) for service in trace.services)}</td><td>{failed}</td></tr>"
    )
