"""Charts as SVG, drawn by hand: they look the same in a page, in an artifact, and on paper."""

import math
from collections.abc import Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]

COLOURS = ("#2563a8", "#d9822b", "#2e8b6f", "#8a5aa8", "#b23a48", "#5b6b7a", "#4aa3c7", "#b8952f")
WIDTH, HEIGHT = 900, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 30, 40
_TEXT = 'font-family="system-ui, sans-serif" font-size="12" fill="#445"'


def line_chart(
    lines: Mapping[str, Points], x_title: str, y_title: str, *, low: float | None = None, high: float | None = None
) -> str:
    """Lines over a common axis; ``low`` and ``high`` fix the vertical one."""
    drawn = {name: thin([p for p in points if all(map(math.isfinite, p))]) for name, points in lines.items()}
    drawn = {name: points for name, points in drawn.items() if points}
    if not drawn:
        return ""
    xs = [x for points in drawn.values() for x, _ in points]
    ys = [y for points in drawn.values() for _, y in points]
    x0, x1 = min(xs), max(max(xs), min(xs) + 1e-9)
    y0 = min(ys) if low is None else low
    y1 = max(max(ys) if high is None else high, y0 + 1e-9)
    pad = 0.06 * (y1 - y0)
    y0, y1 = (y0 if low is not None else y0 - pad), (y1 if high is not None else y1 + pad)

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (x - x0) / (x1 - x0) * (WIDTH - _LEFT - _RIGHT)
        return across, _TOP + (1 - (y - y0) / (y1 - y0)) * (HEIGHT - _TOP - _BOTTOM)

    parts = _grid(x0, x1, y0, y1, place, x_title, y_title)
    for number, (name, points) in enumerate(drawn.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in (place(x, y) for x, y in points))
        width, opacity = (2.2, 1) if len(drawn) <= 4 else (1.3, 0.85)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}" '
            f'stroke-opacity="{opacity}" stroke-linejoin="round"><title>{escape(name)}</title></polyline>'
        )
        if len(points) <= 60:
            parts += [
                f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.6" fill="{colour}"/>' for a, b in (place(*p) for p in points)
            ]
    return _svg(WIDTH, HEIGHT, [*parts, *_legend(list(drawn))], f"{y_title} over {x_title}")


def bar(parts: Mapping[str, float], unit: str = "s") -> str:
    """One bar divided by shares, with each part's name, amount and percentage below."""
    total = sum(parts.values())
    if total <= 0:
        return ""
    x, row, drawn, legend = 0.0, 0, [], []
    in_a_row = 4 if len(parts) <= 4 or len(parts) > 6 else len(parts)
    for number, (name, amount) in enumerate(parts.items()):
        width, colour, share = amount / total * WIDTH, COLOURS[number % len(COLOURS)], amount / total
        drawn.append(
            f'<rect x="{x:.1f}" y="4" width="{width:.1f}" height="34" fill="{colour}">'
            f"<title>{escape(name)}: {amount:.1f} {unit}, {share:.1%}</title></rect>"
        )
        if share > 0.07:
            drawn.append(
                f'<text x="{x + width / 2:.1f}" y="26" text-anchor="middle" font-family="system-ui, sans-serif" '
                f'font-size="13" font-weight="600" fill="#fff">{share:.0%}</text>'
            )
        row, column = divmod(number, in_a_row)
        left, top = column * WIDTH / in_a_row, 52 + 20 * row
        legend.append(f'<rect x="{left:.1f}" y="{top}" width="11" height="11" rx="2" fill="{colour}"/>')
        legend.append(f'<text x="{left + 17:.1f}" y="{top + 10}" {_TEXT}>{escape(name)} {amount:.1f} {unit}</text>')
        x += width
    return _svg(WIDTH, 72 + 20 * row, [*drawn, *legend], "shares of time")


def histogram(values: Sequence[float], x_title: str) -> str:
    """How often which value occurs; what is beyond the 99th percentile is in the last column."""
    if len(values) < 2:
        return ""
    ordered = sorted(values)
    top = max(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], ordered[0] + 1e-9)
    columns = 40
    counts = [0] * columns
    for value in values:
        counts[min(columns - 1, int((value - ordered[0]) / (top - ordered[0]) * columns))] += 1
    height, width = 190, WIDTH / 2 - 10
    most, step = max(counts), (width - 60) / columns
    drawn = [
        f'<rect x="{50 + n * step:.1f}" y="{height - 36 - count / most * (height - 56):.1f}" width="{step - 1:.1f}" '
        f'height="{count / most * (height - 56):.1f}" fill="{COLOURS[0]}"><title>{count} steps</title></rect>'
        for n, count in enumerate(counts)
    ]
    for share in (0.0, 0.5, 1.0):
        value, anchor = ordered[0] + share * (top - ordered[0]), "end" if share == 1 else "middle"
        drawn.append(
            f'<text x="{50 + share * (width - 60):.1f}" y="{height - 20}" text-anchor="{anchor}" {_TEXT}>'
            f"{_short(value)}</text>"
        )
    drawn.append(f'<text x="{width / 2:.0f}" y="{height - 4}" text-anchor="middle" {_TEXT}>{escape(x_title)}</text>')
    drawn.append(f'<text x="4" y="16" {_TEXT}>steps (most: {most})</text>')
    return _svg(round(width), height, drawn, x_title)


def heat_map(rows: Mapping[str, Points], low: float, high: float, unit: str) -> str:
    """Rows of values by step, coloured on a log scale from ``low`` (pale) to ``high`` (dark); trouble is red."""
    rows = {name: points for name, points in rows.items() if points}
    if not rows:
        return ""
    steps = sorted({x for points in rows.values() for x, _ in points})
    steps = steps[:: max(1, len(steps) // 90)]
    cell, left = (WIDTH - 250) / len(steps), 250
    size = 13
    drawn = []
    for number, (name, points) in enumerate(rows.items()):
        y, values = 8 + number * (size + 1), dict(points)
        shown = name if len(name) <= 36 else "…" + name[-35:]
        drawn.append(f'<text x="{left - 8}" y="{y + 10.5}" text-anchor="end" {_TEXT}>{escape(shown)}</text>')
        for column, step in enumerate(steps):
            if step in values:
                colour, told = _colour(values[step], low, high), f"{name}, step {step:.0f}: {values[step]:.3g} {unit}"
                drawn.append(
                    f'<rect x="{left + column * cell:.2f}" y="{y}" width="{cell + 0.3:.2f}" height="{size}" '
                    f'fill="{colour}">'
                    f"<title>{escape(told)}</title></rect>"
                )
    bottom = 8 + len(rows) * (size + 1)
    for share, step in ((0, steps[0]), (1, steps[-1])):
        anchor = "start" if share == 0 else "end"
        drawn.append(
            f'<text x="{left + share * (WIDTH - left)}" y="{bottom + 16}" text-anchor="{anchor}" {_TEXT}>'
            f"step {step:.0f}</text>"
        )
    for number in range(60):
        value = 10 ** (math.log10(low) + number / 59 * (math.log10(high) - math.log10(low)))
        drawn.append(
            f'<rect x="{number * 2.5}" y="{bottom + 6}" width="2.6" height="10" fill="{_colour(value, low, high)}"/>'
        )
    drawn.append(f'<text x="0" y="{bottom + 30}" {_TEXT}>{_short(low)} to {_short(high)} {escape(unit)}</text>')
    return _svg(WIDTH, bottom + 36, drawn, unit)


def thin(points: Points, most: int = 1200) -> Points:
    """At most so many points, each the mean of its neighbours."""
    size = -(-len(points) // most)
    if size <= 1:
        return points
    groups = [points[at : at + size] for at in range(0, len(points), size)]
    return [(group[0][0], sum(y for _, y in group) / len(group)) for group in groups]


def _colour(value: float, low: float, high: float) -> str:
    if not math.isfinite(value) or value > high or value < low:
        return "#c62f3b"
    share = (math.log10(value) - math.log10(low)) / (math.log10(high) - math.log10(low))
    start, end = (231, 240, 247), (21, 72, 122)
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in zip(start, end, strict=True))


def _grid(x0: float, x1: float, y0: float, y1: float, place: object, x_title: str, y_title: str) -> list[str]:
    at = place if callable(place) else None
    assert at is not None  # noqa: S101
    parts = []
    for tick in _ticks(y0, y1, 5):
        _, y = at(x0, tick)
        parts.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e8ee"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" {_TEXT}>{_short(tick)}</text>')
    for tick in _ticks(x0, x1, 8):
        x, _ = at(tick, y0)
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - _BOTTOM + 17}" text-anchor="middle" {_TEXT}>{_short(tick)}</text>'
        )
    middle = (WIDTH + _LEFT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle" {_TEXT}>{escape(x_title)}</text>')
    parts.append(f'<text x="4" y="16" {_TEXT}>{escape(y_title)}</text>')
    return parts


def _legend(names: list[str]) -> list[str]:
    parts, x = [], WIDTH - _RIGHT - sum(24 + 7.2 * len(name) + 14 for name in names)
    for number, name in enumerate(names):
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<rect x="{x:.0f}" y="9" width="16" height="4" rx="2" fill="{colour}"/>')
        parts.append(f'<text x="{x + 22:.0f}" y="16" {_TEXT}>{escape(name)}</text>')
        x += 24 + 7.2 * len(name) + 14
    return parts


def _ticks(low: float, high: float, wanted: int) -> list[float]:
    rough = (high - low) / wanted
    power = 10 ** math.floor(math.log10(rough))
    step = next((power * factor for factor in (1, 2, 5, 10) if power * factor >= rough), power * 10)
    first = math.ceil(low / step)
    return [round(n * step, 12) for n in range(first, math.floor(high / step) + 1)]


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _svg(width: int, height: float, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )
