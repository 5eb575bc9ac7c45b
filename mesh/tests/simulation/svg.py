"""A small line chart as SVG: the same numbers make the same file, byte for byte."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 46, 36
_COLOURS = ("#b3261e", "#00639b")
_STYLE = "text{font:12px sans-serif;fill:#444}.t{font-size:14px;font-weight:bold;fill:#222}"


@dataclass(frozen=True)
class Chart:
    """A chart of lines over seconds.

    Args:
        title: The shown quantity, with its unit.
        lines: Values by name, one per second from 0. The first line is without the feature.
        top: The highest value of the axis. Higher values are cut.
        trouble: Begin and end of the failure, in seconds.
        percent: Whether values are shares.
    """

    title: str
    lines: Sequence[tuple[str, Sequence[float]]]
    top: float
    trouble: tuple[float, float] | None = None
    percent: bool = False

    def render(self) -> str:
        """Return the file."""
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
            f"<title>{escape(self.title)}</title><style>{_STYLE}</style>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
            f'<text class="t" x="{_LEFT}" y="18">{escape(self.title)}</text>',
            *self._band(),
            *self._grid(),
            *self._lines(),
            "</svg>",
        ]
        return "\n".join(parts) + "\n"

    @property
    def _seconds(self) -> int:
        return max(len(values) for _, values in self.lines) - 1

    def _x(self, second: float) -> str:
        return f"{_LEFT + (WIDTH - _LEFT - _RIGHT) * second / self._seconds:.1f}"

    def _y(self, value: float) -> str:
        share = min(max(value, 0.0), self.top) / self.top
        return f"{HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * share:.1f}"

    def _band(self) -> list[str]:
        if self.trouble is None:
            return []
        begin, end = (float(self._x(second)) for second in self.trouble)
        height = HEIGHT - _TOP - _BOTTOM
        return [f'<rect x="{begin}" y="{_TOP}" width="{end - begin:.1f}" height="{height}" fill="#f3e9d2"/>']

    def _grid(self) -> list[str]:
        parts = []
        for part in range(5):
            value = self.top * part / 4
            y, told = self._y(value), f"{value:.0%}" if self.percent else f"{value:g}"
            parts.append(f'<path d="M{_LEFT} {y}H{WIDTH - _RIGHT}" stroke="#ddd"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y}" dy="4" text-anchor="end">{told}</text>')
        for second in range(0, self._seconds + 1, 5):
            x = self._x(second)
            parts.append(f'<text x="{x}" y="{HEIGHT - 14}" text-anchor="middle">{second} s</text>')
        return parts

    def _lines(self) -> list[str]:
        parts = []
        for (name, values), colour, x in zip(self.lines, _COLOURS, (_LEFT, WIDTH // 2), strict=True):
            points = " ".join(f"{self._x(s)},{self._y(value)}" for s, value in enumerate(values))
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
            parts.append(f'<path d="M{x} 33h18" stroke="{colour}" stroke-width="3"/>')
            parts.append(f'<text x="{x + 24}" y="37">{escape(name)}</text>')
        return parts
