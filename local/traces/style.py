"""What both pages share: the frame, the style sheet, and the colours of services."""

import base64
import time
from collections.abc import Sequence
from html import escape

from services.look.files import FILES

STYLE = (
    FILES["theme.css"].decode()
    + """
:root { --page: 1240px; }
main { padding-block: 1.5rem 3rem; }
.crumb { font-size: var(--text-s); margin-bottom: .4rem; }
.panel { padding: 0; margin: 1rem 0; }
main .mono { font-size: var(--text-xs); overflow-wrap: anywhere; }
.svc { display: inline-flex; align-items: center; gap: .4rem; margin-right: .9rem; white-space: nowrap; }
.svc::before {
  content: ""; width: 9px; height: 9px; border-radius: 3px;
  background: hsl(var(--h) var(--hue-s) var(--hue-l)); forced-color-adjust: none;
}
.facts { margin-top: .9rem; }
"""
)
#: Hues in degrees, in an order that keeps neighbours apart.
_HUES = (217, 158, 28, 280, 345, 190, 48, 318, 100, 240)
_ICON = "data:image/svg+xml;base64," + base64.b64encode(FILES["icon.svg"]).decode()
_HEAD = (
    '<a class="skip" href="#main">Skip to the content</a><header class="head"><div class="wrap bar">'
    f'<a class="brand" href="/"><img src="{_ICON}" alt=""> Meshmart <span class="product">traces</span></a>'
    "</div></header>"
)


def page(title: str, style: str, body: str) -> str:
    """Return a whole document. `body` and `style` are markup already."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{escape(title)} · Meshmart</title><link rel="icon" href="{_ICON}">'
        f'<style>{STYLE}{style}</style></head><body class="dense">{_HEAD}'
        f'<main id="main" class="wrap">{body}</main></body></html>'
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
