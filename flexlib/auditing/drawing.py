"""The report's figures: SVG by hand, in the colour of the text around them, so that they suit both themes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_WIDTH, _ROW = 400, 46  # narrow, so that its text is legible on a telephone
_FONT = 'font-size="13" fill="currentColor"'


def intervals(rows: Sequence[tuple[str, float, float, float]], margin: float) -> str:
    """A dot and its interval a row.

    Args:
        rows: name, difference, low and high, in -1..1.
        margin: the half-width of the band about 0, in 0..1.
    """
    reach = 1.08 * max([margin, *(abs(v) for _, *values in rows for v in values)])
    side, top = 20, 4
    bottom = top + _ROW * len(rows)

    def x(value: float) -> float:
        return round(side + (value / reach + 1) / 2 * (_WIDTH - 2 * side), 1)

    told = "; ".join(
        f"{name} {100 * d:+.1f}, from {100 * low:+.1f} to {100 * high:+.1f}"
        for name, d, low, high in rows
    )
    parts = [
        (
            f'<rect x="{x(-margin)}" y="{top}" width="{x(margin) - x(-margin):.1f}" '
            f'height="{bottom - top}" fill="currentColor" opacity="0.1"/>'
        ),
        f'<line x1="{x(0)}" x2="{x(0)}" y1="{top}" y2="{bottom}" stroke="currentColor" opacity="0.6"/>',
    ]
    for i, (name, difference, low, high) in enumerate(rows):
        y = top + _ROW * i + 32
        parts.append(
            f'<text x="0" y="{y - 15}" {_FONT}>{escape(name)}</text>'
            f'<line x1="{x(low)}" x2="{x(high)}" y1="{y}" y2="{y}" stroke="currentColor" '
            f'stroke-width="2"/><circle cx="{x(difference)}" cy="{y}" r="5" fill="currentColor"/>'
        )
    for value in _ticks(reach):
        parts.append(
            f'<text x="{x(value)}" y="{bottom + 18}" text-anchor="middle" {_FONT}>'
            f"{100 * value:+.0f}</text>"
        )
    return _svg(parts, bottom + 26, f"Differences in points: {told}.")


def spectrum(points: Sequence[tuple[float, float, float, float]], axes: tuple[str, str]) -> str:
    """A line of values against a null and its spread of two standard deviations either way.

    Args:
        points: x, value, mean and standard deviation of the null, by ascending x.
        axes: what they are called.
    """
    width, height, left, top = _WIDTH, 220, 44, 10
    highest = 1.08 * max(max(v, null + 2 * sd) for _, v, null, sd in points)
    first, last = points[0][0], points[-1][0]

    def at(x: float, y: float) -> str:
        across = left + (x - first) / ((last - first) or 1) * (width - left - 12)
        return f"{across:.1f},{top + (1 - max(0.0, y) / highest) * (height - top - 40):.1f}"

    upper = [at(x, null + 2 * sd) for x, _, null, sd in points]
    lower = [at(x, null - 2 * sd) for x, _, null, sd in points]
    line = " ".join(at(x, v) for x, v, _, _ in points)
    middle = " ".join(at(x, null) for x, _, null, _ in points)
    floor = height - 40
    parts = [
        f'<polygon points="{" ".join(upper + lower[::-1])}" fill="currentColor" opacity="0.15"/>',
        (
            f'<polyline points="{middle}" fill="none" stroke="currentColor" stroke-dasharray="4 3" '
            'opacity="0.8"/>'
        ),
        f'<polyline points="{line}" fill="none" stroke="currentColor" stroke-width="2"/>',
        f'<line x1="{left}" x2="{width - 12}" y1="{floor}" y2="{floor}" stroke="currentColor"/>',
        f'<text x="{left}" y="{floor + 15}" text-anchor="middle" {_FONT}>{first:.2g}</text>',
        f'<text x="{width - 12}" y="{floor + 15}" text-anchor="end" {_FONT}>{last:.3g}</text>',
        f'<text x="{left - 6}" y="{floor}" text-anchor="end" {_FONT}>0</text>',
        f'<text x="{left - 6}" y="{top + 10}" text-anchor="end" {_FONT}>{highest:.2g}</text>',
        (
            f'<text x="{(left + width) / 2}" y="{height - 8}" text-anchor="middle" {_FONT}>'
            f"{escape(axes[0])}</text>"
        ),
    ]
    outside = sum(abs(v - null) > 2 * sd for _, v, null, sd in points)
    told = (
        f"{axes[1]} by {axes[0]}: a line, and the null dashed with its spread of two standard deviations. "
        f"{outside} of {len(points)} points lie outside of it."
    )
    return _svg(parts, height, told, width)


def _svg(parts: Sequence[str], height: float, told: str, width: int = _WIDTH) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{escape(told)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def _ticks(reach: float) -> list[float]:
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if 3 * s >= reach or s == 1.0)
    count = int(reach / step)
    return [i * step for i in range(-count, count + 1)]
