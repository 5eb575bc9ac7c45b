"""What both pages share: the frame, the style sheet, and the colours of services."""

import time
from collections.abc import Sequence
from html import escape

#: Hues in degrees, in an order that keeps neighbours apart.
_HUES = (217, 158, 28, 280, 345, 190, 48, 318, 100, 240)

STYLE = """
:root {
  color-scheme: light dark; --bg: #f6f7f9; --card: #fff; --ink: #1c2430; --soft: #667085; --line: #e4e7ec;
  --hover: #f2f5fa; --track: #eef1f5; --link: #3a6bd8; --bad: #b42318; --bad-bg: #fdeceb; --l: 52%; --s: 62%;
}
@media (prefers-color-scheme: dark) {
  :root {
    --bg: #12161c; --card: #1a2029; --ink: #e6e9ef; --soft: #98a2b3; --line: #2b3340; --hover: #202835;
    --track: #232b37; --link: #86a9f7; --bad: #ff9a90; --bad-bg: #45201d; --l: 60%; --s: 58%;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink); font: 14.5px/1.5 system-ui, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 28px 20px 64px; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
h1 { font-size: 24px; margin: 0; overflow-wrap: anywhere; }
.crumb { font-size: 13.5px; margin: 0 0 6px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; margin: 16px 0; }
.soft, .facts dt { color: var(--soft); }
.num { font-variant-numeric: tabular-nums; }
.mono { font: 12.5px/1.6 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
.pill { border-radius: 99px; padding: 1px 10px; font-size: 12.5px; white-space: nowrap; }
.pill.bad { background: var(--bad-bg); color: var(--bad); }
.svc { display: inline-flex; align-items: center; gap: 6px; margin-right: 14px; white-space: nowrap; }
.svc::before {
  content: ""; width: 9px; height: 9px; border-radius: 3px; background: hsl(var(--h) var(--s) var(--l));
}
.facts { display: flex; flex-wrap: wrap; gap: 8px 36px; margin: 14px 0 0; }
.facts dt { font-size: 12.5px; }
.facts dd { margin: 0; }
"""


def page(title: str, style: str, body: str) -> str:
    """Return a whole document. `body` and `style` are markup already."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head><body><main>{body}</main></body></html>"
    )


def hue(service: str, services: Sequence[str]) -> int:
    """Return the hue of a service in degrees, the same on every page while the set of services does not
    change.
    """
    return _HUES[services.index(service) % len(_HUES)] if service in services else 0


def chip(service: str, services: Sequence[str]) -> str:
    """Return markup for the service's name with a dot in its colour."""
    return f'<span class="svc" style="--h:{hue(service, services)}">{escape(service)}</span>'


def clock(at: float, form: str = "%H:%M:%S") -> str:
    """Format a time in Unix seconds as local time with milliseconds."""
    return time.strftime(form, time.localtime(at)) + f".{int(at % 1 * 1000):03d}"


def milliseconds(seconds: float) -> str:
    """Format a duration in seconds, such as `840 µs`, `12.3 ms` or `1.25 s`."""
    if seconds <= 0:
        return "0"
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms" if seconds < 0.1 else f"{seconds * 1e3:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 60 else f"{seconds / 60:.1f} min"
