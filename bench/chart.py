"""Draws a record as an SVG bar chart, for light and dark pages."""

from html import escape

Record = dict[str, object]

CHART_ROWS = ["predict", "frozen", "fine-tune", "full", "bf16"]
WIDTH, LABELS, BAR, GAP, TITLE = 760, 150, 18, 4, 30
VALUES = 110

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.ours { fill: #1a7f37 } .theirs { fill: #8c959f }
@media (prefers-color-scheme: dark) {
  text { fill: #d1d7de } .ours { fill: #3fb950 } .theirs { fill: #6e7681 }
}
"""


def can_be_drawn(found: Record, titles: dict[str, str]) -> bool:
    """Whether a record has all rows of the chart, and every program. Rows that the CPU doesn't support may be missing."""
    done = {row["name"] for row in found["rows"] if "skipped" in row or "seconds" in row["programs"]["engraft"]}
    programs = {name for row in found["rows"] for name in row["programs"]}
    return done.issuperset(CHART_ROWS) and programs.issuperset(titles)


def svg(found: Record, titles: dict[str, str]) -> str:
    """The chart: seconds per batch, with one group of bars for each row."""
    rows = [row for row in found["rows"] if row["name"] in CHART_ROWS and "skipped" not in row]
    longest = max(program.get("seconds", 0) for row in rows for program in row["programs"].values())
    parts, y = [], 0
    for row in rows:
        parts.append(text(0, y + 20, f"{row['title']}, batch {row['batch']}", "title"))
        y += TITLE
        programs = sorted(row["programs"].items(), key=lambda item: item[1].get("seconds", 0))
        for name, program in programs:
            if "seconds" in program:
                parts += bar(y, titles[name], program["seconds"], longest, name == "engraft", row)
                y += BAR + GAP
        y += GAP * 2
    caption = f"{found['cpu']}, {found['threads']} threads, {found['size']} px, {found['date'][:10]}; shorter is faster"
    parts.append(text(0, y + 16, caption))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 24}" role="img">'
    return "\n".join([head, f"<title>{escape(caption)}</title><style>{STYLE}</style>", *parts, "</svg>"]) + "\n"


def bar(y: float, title: str, seconds: float, longest: float, ours: bool, row: Record) -> list[str]:
    width = (WIDTH - LABELS - VALUES) * seconds / longest
    fastest = row["programs"]["engraft"]["seconds"]
    value = f"{seconds:.2f} s" if ours else f"{seconds:.2f} s, {seconds / fastest:.1f}x"
    kind = "ours" if ours else "theirs"
    return [
        text(0, y + 14, title),
        f'<rect class="{kind}" x="{LABELS}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"/>',
        text(LABELS + width + 6, y + 14, value),
    ]


def text(x: float, y: float, content: str, kind: str | None = None) -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f'<text{attribute} x="{x:.1f}" y="{y:.1f}">{escape(content)}</text>'
