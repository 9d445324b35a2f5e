"""roofline.py - a run's rows as points under this machine's roofs, as an SVG picture.

Across: multiply-adds for each byte that has to be read; up: multiply-adds a second; both by powers of two. The slope is the memory's
roof, the flat line that of int8 products. A point's distance below the roofs is what could still be had.
"""
import math
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900, 560, 70, 190, 40, 50
COLOURS = {"pensieve": "#0b62a4", "llama.cpp": "#c4541a"}
MARKS = {"prefill": "circle", "decode": "square"}


class Axes:
    def __init__(self, xs, ys):
        self.x0, self.x1 = math.floor(math.log2(min(xs))), math.ceil(math.log2(max(xs)))
        self.y0, self.y1 = math.floor(math.log2(min(ys))), math.ceil(math.log2(max(ys)))

    def x(self, v): return LEFT + (math.log2(v) - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)
    def y(self, v): return HEIGHT - BOTTOM - (math.log2(v) - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)

    def grid(self):
        for i in range(self.x0, self.x1 + 1):
            yield line(self.x(2 ** i), self.y(2 ** self.y0), self.x(2 ** i), self.y(2 ** self.y1), "#e4e4e4")
            yield label(self.x(2 ** i), HEIGHT - BOTTOM + 18, f"{2.0 ** i:g}", "middle")
        for i in range(self.y0, self.y1 + 1):
            yield line(self.x(2 ** self.x0), self.y(2 ** i), self.x(2 ** self.x1), self.y(2 ** i), "#e4e4e4")
            yield label(LEFT - 8, self.y(2 ** i) + 4, f"{2.0 ** i:g}", "end")


def line(x1, y1, x2, y2, colour, width=1): return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'
def label(x, y, words, anchor="start", size=12): return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{escape(words)}</text>'


def mark(x, y, kind, colour, about=""):
    about = f"<title>{escape(about)}</title>"
    if kind == "circle": return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}" fill-opacity="0.75">{about}</circle>'
    return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="{colour}" fill-opacity="0.75">{about}</rect>'


def points_of(row):
    """(engine, across, up, what it is)"""
    engines = {"pensieve": row["pensieve"]["median"]}
    if "best" in row: engines["llama.cpp"] = row["llama.cpp"][row["best"]]["median"]
    for engine, rate in engines.items():
        yield engine, row["macs"] / row["bytes"], rate * row["macs"] / 1e9, (
            f"{engine}: {row['shape']} {row['form']}, {row['kind']} {row['length']}, {row['batch']} at once: {rate:.1f} tokens/s")


def picture(found):
    machine, threads = found["machine"], found["threads"]
    rows = [r for r in found["rows"] if r["threads"] == threads]
    points = [(row["kind"], *p) for row in rows for p in points_of(row)]
    roof = machine.get(threads) or machine[max(machine)]
    peak, read = roof["int8"] / 1e9, roof["read"] / 1e9
    axes = Axes([p[2] for p in points] + [peak / read], [p[3] for p in points] + [peak])
    left, right = 2.0 ** axes.x0, 2.0 ** axes.x1
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', *axes.grid(),
           label(LEFT, 24, f"{found['cpu']}, {threads} threads, {found['isa']}: {read:.1f} GB/s, {peak:.0f} int8 multiply-adds/ns", size=14),
           label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "multiply-adds for each byte read", "middle"),
           f'<text transform="translate(18 {HEIGHT / 2}) rotate(-90)" font-size="12" text-anchor="middle">multiply-adds a nanosecond</text>']
    start, ridge = max(left, 2.0 ** axes.y0 / read), peak / read      # where the slope enters the picture, where it meets the flat roof
    out += [line(axes.x(start), axes.y(start * read), axes.x(ridge), axes.y(peak), "black", 2),
            line(axes.x(ridge), axes.y(peak), axes.x(right), axes.y(peak), "black", 2)]
    out += [mark(axes.x(x), axes.y(y), MARKS[kind], COLOURS[engine], about) for kind, engine, x, y, about in points]
    for i, (engine, kind) in enumerate((e, k) for e in COLOURS for k in MARKS):
        out += [mark(WIDTH - RIGHT + 24, TOP + 20 + 22 * i, MARKS[kind], COLOURS[engine]),
                label(WIDTH - RIGHT + 36, TOP + 24 + 22 * i, f"{engine}, {kind}")]
    return "\n".join([*out, "</svg>"]) + "\n"
