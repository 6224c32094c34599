#!/usr/bin/env python3
"""Draws the transcript of a terminal as an SVG picture: docs/terminal.py docs/run.txt docs/run.svg

Lines that start with `$ ` are commands; the others are output.
"""

import html
import sys

CHARACTER, LINE, MARGIN = 7.8, 19, 18
BACKGROUND, COMMAND, OUTPUT, PROMPT = "#16181d", "#ffffff", "#c9d1d9", "#7ee787"
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def draw(lines):
    width = round(max(map(len, lines)) * CHARACTER + 2 * MARGIN)
    height = len(lines) * LINE + 2 * MARGIN
    rows = []
    for number, line in enumerate(lines):
        y = MARGIN + LINE * number + 14
        text = html.escape(line, quote=False)
        if line.startswith("$ "):
            text = f'<tspan fill="{PROMPT}">$</tspan><tspan fill="{COMMAND}">{text[1:]}</tspan>'
        rows.append(f'<text x="{MARGIN}" y="{y}" xml:space="preserve">{text}</text>')
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">',
        "<title>engraft trains a classifier on a folder of photos and predicts with it</title>",
        f'<rect width="{width}" height="{height}" rx="8" fill="{BACKGROUND}"/>',
        f'<g font-family="{FONT}" font-size="13" fill="{OUTPUT}">',
        *rows,
        "</g>",
        "</svg>",
        "",
    ])


if __name__ == "__main__":
    transcript, picture = sys.argv[1:]
    with open(transcript) as file:
        lines = file.read().rstrip("\n").split("\n")
    with open(picture, "w") as file:
        file.write(draw(lines))
