"""The main table as a picture: time against size, both scales logarithmic, as SVG written by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape

from bench.sizes import SizeResult

_WIDTH, _HEIGHT = 760, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 170, 30, 60
_LINES: tuple[tuple[str, str, Callable[[SizeResult], float]], ...] = (
    ("schedule", "#1f5fa8", lambda size: size.schedule.seconds),
    ("unschedule", "#a8431f", lambda size: size.unschedule.seconds),
    ("floor, schedule", "#7aa6d6", lambda size: size.schedule.floor_seconds),
    ("floor, unschedule", "#d69a7a", lambda size: size.unschedule.floor_seconds),
)


def plot(sizes: list[SizeResult]) -> str:
    """An SVG; needs at least one size."""
    ordered = sorted(sizes, key=lambda size: (size.tasks, size.agents))
    points = [(float(size.tasks), get(size)) for _, _, get in _LINES for size in ordered]
    across = _Scale([x for x, _ in points], _LEFT, _WIDTH - _RIGHT)
    upward = _Scale([y for _, y in points], _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        *_grid(across, upward),
        *_labels(ordered, across),
    ]
    for number, (name, colour, get) in enumerate(_LINES):
        line = [(across(size.tasks), upward(get(size))) for size in ordered]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
        dash = ' stroke-dasharray="5 4"' if name.startswith("floor") else ""
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in line]
        at = _TOP + 20 * number + 8
        parts.append(
            f'<line x1="{_WIDTH - _RIGHT + 15}" x2="{_WIDTH - _RIGHT + 40}" y1="{at}" y2="{at}" '
            f'stroke="{colour}" stroke-width="2"{dash}/>'
            f'<text x="{_WIDTH - _RIGHT + 46}" y="{at + 4}">{escape(name)}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


class _Scale:
    """Values to pixels, by powers of ten."""

    def __init__(self, values: list[float], first: float, last: float) -> None:
        self.low = math.floor(math.log10(min(values)))
        self.high = max(math.ceil(math.log10(max(values))), self.low + 1)
        self._first, self._last = first, last

    def __call__(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self._first + share * (self._last - self._first)

    def powers(self) -> list[float]:
        """The powers of ten on it."""
        return [10.0**exponent for exponent in range(self.low, self.high + 1)]


def _grid(across: _Scale, upward: _Scale) -> list[str]:
    parts = []
    for value in upward.powers():
        y = upward(value)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g} s</text>')
    for value in across.powers():
        x = across(value)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" stroke="#eee"/>')
    return parts


def _labels(sizes: list[SizeResult], across: _Scale) -> list[str]:
    """Tasks, and below them agents; where two sizes have the same tasks, both."""
    parts = []
    bottom = _HEIGHT - _BOTTOM
    for size in sizes:
        x = across(size.tasks)
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{size.tasks:,}</text>')
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 34}" text-anchor="middle" fill="#777">{size.agents:,}</text>'
        )
    parts.append(f'<text x="{_WIDTH - _RIGHT + 15}" y="{bottom + 18}">tasks</text>')
    parts.append(f'<text x="{_WIDTH - _RIGHT + 15}" y="{bottom + 34}" fill="#777">agents</text>')
    return parts
