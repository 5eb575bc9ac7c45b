"""The plot of a run as SVG: what failed, and each figure of the processes that lived throughout."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from bench.soak.slope import Point

WIDTH, PANEL, GAP = 900, 190, 42
_LEFT, _RIGHT, _TOP = 64, 150, 60
_COLOURS = (
    "#b3261e",
    "#00639b",
    "#2e7d32",
    "#7b1fa2",
    "#e07b00",
    "#00838f",
    "#5d4037",
    "#c2185b",
    "#455a64",
    "#9e9d24",
)
_SPANS = {
    "kill": "#b3261e",
    "freeze": "#5d4037",
    "scale": "#2e7d32",
    "slow": "#9e9d24",
    "abort": "#e07b00",
    "hang": "#c2185b",
    "rotate": "#00639b",
    "dns": "#7b1fa2",
    "database": "#222",
}
_STYLE = "text{font:12px sans-serif;fill:#444}.t{font-size:14px;font-weight:bold;fill:#222}"


@dataclass(frozen=True)
class Panel:
    """One diagram: lines over time, by name."""

    title: str
    lines: Mapping[str, Sequence[Point]]


@dataclass(frozen=True)
class Span:
    """A disturbance: its kind, and when it was, in seconds."""

    kind: str
    began: float
    ended: float


def render(title: str, seconds: float, spans: Sequence[Span], panels: Sequence[Panel], warm: float) -> str:
    """Return the file.

    Args:
        title: The heading.
        seconds: The length of the run.
        spans: Are shown behind every panel.
        panels: From top to bottom.
        warm: The end of the warm-up in seconds; a dashed line.
    """
    height = _TOP + len(panels) * (PANEL + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text class="t" x="{_LEFT}" y="18">{escape(title)}</text>',
        *_legend({span.kind for span in spans}),
    ]
    for number, panel in enumerate(panels):
        parts += _Drawing(panel, seconds, _TOP + number * (PANEL + GAP)).parts(spans, warm)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend(kinds: set[str]) -> Iterator[str]:
    for number, kind in enumerate(k for k in _SPANS if k in kinds):
        x = _LEFT + 80 * number
        yield f'<rect x="{x}" y="27" width="10" height="10" fill="{_SPANS[kind]}"/>'
        yield f'<text x="{x + 14}" y="36">{kind}</text>'


class _Drawing:
    """One panel on the page. `top` is where it begins."""

    def __init__(self, panel: Panel, seconds: float, top: float) -> None:
        self._panel, self._seconds = panel, max(seconds, 1.0)
        self._above, self._below = top + 18, top + PANEL
        values = [value for line in panel.lines.values() for _, value in line] or [0.0]
        self._low, self._high = _limits(min(values), max(values))

    def parts(self, spans: Sequence[Span], warm: float) -> Iterator[str]:
        """Yield the elements, from the back to the front."""
        yield f'<text class="t" x="{_LEFT}" y="{self._above - 6:.0f}">{escape(self._panel.title)}</text>'
        for span in spans:
            x, width = self._x(span.began), max(1.0, self._x(span.ended) - self._x(span.began))
            yield (
                f'<rect x="{x:.1f}" y="{self._above:.0f}" width="{width:.1f}" '
                f'height="{self._below - self._above:.0f}" fill="{_SPANS[span.kind]}" opacity="0.13"/>'
            )
        yield from self._grid(warm)
        for number, (name, points) in enumerate(self._panel.lines.items()):
            yield from self._line(number, name, points)

    def _grid(self, warm: float) -> Iterator[str]:
        for part in range(5):
            value = self._low + (self._high - self._low) * part / 4
            y = self._y(value)
            yield f'<path d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}" stroke="#ddd"/>'
            yield f'<text x="{_LEFT - 6}" y="{y:.1f}" dy="4" text-anchor="end">{value:g}</text>'
        step = max(1, math.ceil(self._seconds / 60 / 12))
        for minute in range(0, int(self._seconds // 60) + 1, step):
            x = self._x(minute * 60)
            yield f'<text x="{x:.1f}" y="{self._below + 15:.0f}" text-anchor="middle">{minute} min</text>'
        x = self._x(warm)
        yield f'<path d="M{x:.1f} {self._above:.0f}V{self._below:.0f}" stroke="#888" stroke-dasharray="4 4"/>'

    def _line(self, number: int, name: str, points: Sequence[Point]) -> Iterator[str]:
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{self._x(at):.1f},{self._y(value):.1f}" for at, value in points)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        y = self._above + 10 + 15 * number
        yield f'<path d="M{WIDTH - _RIGHT + 8} {y - 4:.0f}h14" stroke="{colour}" stroke-width="3"/>'
        yield f'<text x="{WIDTH - _RIGHT + 28}" y="{y:.0f}">{escape(name)}</text>'

    def _x(self, second: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * min(second, self._seconds) / self._seconds

    def _y(self, value: float) -> float:
        share = (value - self._low) / (self._high - self._low)
        return self._below - (self._below - self._above) * share


def _limits(low: float, high: float) -> tuple[float, float]:
    """Return round limits of an axis, four steps of 1, 2 or 5 times a power of ten apart."""
    step = max(high - low, 1.0) / 4
    power = 10.0 ** math.floor(math.log10(step))
    step = next(power * m for m in (1, 2, 2.5, 5, 10, 20) if power * m >= step)
    bottom = math.floor(low / step) * step
    while bottom + 4 * step < high:
        step *= 2
        bottom = math.floor(low / step) * step
    return bottom, bottom + 4 * step
