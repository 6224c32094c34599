"""Writes the photos that the tests read, and prints the values that Pillow and TensorFlow decode from them.

Run in this folder with Pillow 13 and, for the 16-bit image and the resizing (`--tensorflow`), TensorFlow 2.21.
"""
import hashlib
import io
import struct
import sys
import zlib

import numpy as np
from PIL import Image, ImageOps

RED, GREEN, BLUE, WHITE = (250, 10, 20), (30, 200, 40), (20, 60, 220), (255, 255, 255)
ORIENTATION = 0x0112
# The transposition of an upright photo that EXIF orientation 1..8 undoes.
TRANSPOSITIONS = [
    None,
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.ROTATE_180,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_90,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_270,
]


def quarters(colours=(RED, GREEN, BLUE, WHITE), mode="RGB"):
    """16 wide, 32 high, one colour in each quarter: blocks of 8 x 8, which JPEG keeps nearly exactly."""
    image = Image.new(mode, (16, 32))
    for quarter, colour in enumerate(colours):
        x, y = 8 * (quarter % 2), 16 * (quarter // 2)
        image.paste(colour, (x, y, x + 8, y + 16))
    return image


def corners(name):
    image = Image.open(name).convert("RGB")
    w, h = image.size
    print(name, image.size, [image.getpixel(at) for at in [(0, 0), (w - 1, 0), (0, h - 1), (w - 1, h - 1)]])


def oriented():
    upright = quarters()
    for orientation, transpose in enumerate(TRANSPOSITIONS, 1):
        transposed = upright.transpose(transpose) if transpose is not None else upright
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        transposed.save(f"orientation_{orientation}.jpg", quality=100, subsampling=0, exif=exif)
        if orientation == 6:
            transposed.save("orientation_6.png", exif=exif)
            transposed.save("orientation_6.webp", lossless=True, exif=exif)
            transposed.save("orientation_6.tif", exif=exif)
        upright_again = ImageOps.exif_transpose(Image.open(f"orientation_{orientation}.jpg"))
        assert np.abs(np.asarray(upright_again, int) - np.asarray(upright, int)).max() <= 2


def jpegs():
    quarters().convert("L").save("grey.jpg", quality=100)
    quarters().save("progressive.jpg", quality=100, subsampling=0, progressive=True)
    inks = [(10, 200, 100, 0), (0, 0, 0, 0), (0, 0, 0, 200), (50, 50, 200, 100)]
    quarters(inks, "CMYK").save("cmyk.jpg", quality=100, subsampling=0)
    # Pillow can't write YCCK, so write CMYK and set the Adobe marker's colour transform to YCCK.
    content = io.BytesIO()
    planes = [(55, 127, 127, 0), (155, 100, 140, 0), (0, 127, 127, 200), (100, 160, 90, 100)]
    quarters(planes, "CMYK").save(content, "JPEG", quality=100, subsampling=0)
    content = bytearray(content.getvalue())
    transform = content.index(b"Adobe") + 11
    assert content[transform] == 0
    content[transform] = 2
    open("ycck.jpg", "wb").write(content)


def exact():
    """37 wide, 23 high, so that blocks are cut at both edges; colours change inside subsampled chroma pixels."""
    y, x = np.mgrid[:23, :37]
    stripes = np.stack([(x // 3 * 85 + y) % 256, (y // 5 * 60 + 2 * x) % 256, ((x + y) // 7 * 110) % 256], axis=-1)
    image = Image.fromarray(stripes.astype(np.uint8))
    image.save("exact_420.jpg", quality=80, subsampling="4:2:0")
    image.save("exact_444.jpg", quality=80, subsampling="4:4:4")
    image.save("exact_progressive.jpg", quality=80, subsampling="4:2:0", progressive=True)
    image.convert("L").save("exact_grey.jpg", quality=80)
    for name in ["exact_420.jpg", "exact_444.jpg", "exact_progressive.jpg", "exact_grey.jpg"]:
        print(name, "sha256", hashlib.sha256(Image.open(name).convert("RGB").tobytes()).hexdigest())


def pngs():
    sixteen = np.array([[0, 255, 256, 32767], [32768, 40000, 65279, 65535]], np.uint16)
    Image.fromarray(sixteen).save("grey16.png")
    palette = Image.new("P", (2, 2))
    palette.putpalette([*RED, *GREEN, *BLUE])
    palette.putdata([0, 1, 2, 1])
    palette.save("palette.png", transparency=bytes([255, 0, 102]))
    rgba = Image.new("RGBA", (2, 2))
    rgba.putdata([(*RED, 255), (*GREEN, 0), (*BLUE, 102), (0, 0, 0, 1)])
    rgba.save("rgba.png")
    rgba.convert("LA").save("grey_alpha.png")
    rgba.save("rgba.webp", lossless=True)
    Image.frombytes("1", (8, 1), bytes([0b10100101])).save("one_bit.png")


def moving():
    first, second = quarters(), quarters((BLUE, BLUE, BLUE, BLUE))
    first.save("animated.gif", save_all=True, append_images=[second], duration=100, loop=0)
    first.save("animated.webp", save_all=True, append_images=[second], duration=100, loop=0, lossless=True)


def others():
    quarters().save("photo.bmp")
    quarters().convert("P").save("palette.bmp")
    quarters().save("lossy.webp", quality=100)
    Image.new("RGB", (1, 1), RED).save("one_pixel.png")


def tiffs():
    for name, compression in [("packbits", "packbits"), ("lzw", "tiff_lzw"), ("deflate", "tiff_adobe_deflate")]:
        quarters().save(f"{name}.tif", compression=compression)
    quarters().convert("L").save("grey.tif")
    Image.open("rgba.png").save("rgba.tif")
    quarters().convert("P").save("palette.tif")


def png(name, size, kind, pixels, palette=None):
    """A PNG of `kind` (2: RGB, 3: indices into a palette), 8 bits a value, whose rows are `pixels`."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    content = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, kind, 0, 0, 0))
    content += b"" if palette is None else chunk(b"PLTE", palette)
    content += chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    open(name, "wb").write(b"\x89PNG\r\n\x1a\n" + content)


def bomb():
    """A PNG header that declares 60000 x 60000 pixels, without them."""
    png("bomb.png", (60000, 60000), 2, bytes(1000))


def palettes():
    """PNGs of one pixel, the first colour of palettes that no PNG may have."""
    for name, length in [("palette_empty", 0), ("palette_of_parts", 109), ("palette_of_257", 3 * 257)]:
        png(f"{name}.png", (1, 1), 3, bytes(2), bytes(length))


if __name__ == "__main__":
    for write in (oriented, jpegs, exact, pngs, moving, others, tiffs, bomb, palettes):
        write()
    for name in ["orientation_1.jpg", "grey.jpg", "progressive.jpg", "cmyk.jpg", "ycck.jpg", "animated.gif", "palette.bmp", "lossy.webp"]:
        corners(name)
    for name in ["palette.png", "rgba.png", "grey_alpha.png", "rgba.webp", "rgba.tif"]:
        image = Image.open(name).convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        print(name, "RGBA", np.asarray(image).ravel().tolist())
        print(name, "on white", np.asarray(Image.alpha_composite(white, image).convert("RGB")).tolist())
    if "--tensorflow" in sys.argv:
        import tensorflow as tf

        print("grey16.png", tf.io.decode_png(open("grey16.png", "rb").read(), channels=1).numpy().ravel().tolist())
        photo = ((np.arange(5 * 7 * 3) * 37) % 256).astype(np.uint8).reshape(5, 7, 3)
        for size in [(3, 4), (8, 9), (1, 1), (5, 7)]:
            resized = tf.image.resize(photo, size).numpy()
            print("resize", size, [float(value) for value in resized.ravel()[:6]], float(resized.sum(dtype=np.float64)))
