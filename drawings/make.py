#!/usr/bin/env python3
"""Makes the pictures of this folder from the drawings that `sources.txt` lists, out of Debian's package `openclipart-png`.

    apt-get download openclipart-png=1:0.18+dfsg-19
    drawings/make.py openclipart-png_1%3a0.18+dfsg-19_all.deb

It needs Pillow and dpkg-deb. Each drawing gets a white background and a margin, and its longer side becomes 200 pixels.
"""

import hashlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path

from PIL import Image, ImageChops

SHA256 = "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02"
FOLDER = "./usr/share/openclipart/png/"
HERE = Path(__file__).resolve().parent
SIDE = 200
MARGIN = 6


def main(package: str) -> None:
    if hashlib.sha256(Path(package).read_bytes()).hexdigest() != SHA256:
        sys.exit(f"{package}: expected sha256 {SHA256}; download it again")
    files = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(files)) as archive:
        for line in (HERE / "sources.txt").read_text().splitlines():
            picture, source = line.split()
            path = HERE / picture
            path.parent.mkdir(parents=True, exist_ok=True)
            drawing = Image.open(archive.extractfile(FOLDER + source))
            resized(drawing).save(path, quality=88, optimize=True)


def resized(drawing: Image.Image) -> Image.Image:
    """The drawing on white, without empty borders."""
    rgba = drawing.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    white.alpha_composite(rgba)
    rgb = white.convert("RGB")
    rgb = rgb.crop(ImageChops.invert(rgb).getbbox())
    rgb.thumbnail((SIDE - 2 * MARGIN, SIDE - 2 * MARGIN), Image.Resampling.LANCZOS)
    page = Image.new("RGB", (rgb.width + 2 * MARGIN, rgb.height + 2 * MARGIN), "white")
    page.paste(rgb, (MARGIN, MARGIN))
    return page


if __name__ == "__main__":
    main(sys.argv[1]) if len(sys.argv) == 2 else sys.exit(__doc__)
