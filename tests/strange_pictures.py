"""Pictures that are no frontal chest films: some to choose the rules of `model/domain.py` on, others to measure them.

    python -m tests.strange_pictures OUT [--more FOLDER ...]

writes ``OUT/choose/KIND/*.png`` and ``OUT/measure/KIND/*.png``: photographs from scikit-image and scikit-learn (whole,
grey, and parts of them), noise, nearly blank fields, documents, drawings, charts, screens, and medical pictures that
are no chest films. A photograph and its parts lie on one side only. What is drawn here is drawn with other seeds on
either side, but by the same hand. Only on the measuring side are the DICOM pictures that come with pydicom, the
project's own screenshots, and the pictures under ``--more``, whose folders name their kinds.

scikit-image is needed here and by nothing else.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

SIDES = ("choose", "measure")
PARTS = 4
SMALLEST_CUT = 100  # pixels a side; parts of smaller photographs would be too small to be read
PROJECT = Path(__file__).resolve().parent.parent

# scikit-image's pictures that show no scene: what they are instead
_NO_PHOTOS = {
    "cell": "other medical",
    "chessboard_GRAY": "drawing",
    "chessboard_RGB": "drawing",
    "color": "drawing",
    "horse": "drawing",
    "ihc": "other medical",
    "logo": "drawing",
    "microaneurysms": "other medical",
    "page": "document",
    "phantom": "other medical",
    "retina": "other medical",
    "text": "document",
}
_WORDS = (
    "report patient chest film left right normal findings date ward clinic heart lung clear seen none follow up "
    "signed dose number sheet room total price order invoice thank you dear regards table figure result method"
).split()


@dataclass(frozen=True)
class Strange:
    """One picture: which side it is for, what kind it is, a name that is unique within the kind."""

    side: str
    kind: str
    name: str
    image: Image.Image


def strange_pictures(*, count: int = 16, more: Sequence[Path] = ()) -> Iterator[Strange]:
    """All pictures. ``count``: of each kind drawn here, on each side; ``more``: further folders to measure on."""
    yield from _of_packages()
    for side_number, side in enumerate(SIDES):
        random = np.random.default_rng(20261121 + side_number)
        for kind, draw in (
            ("noise", _noise),
            ("blank", _blank),
            ("document", _document),
            ("drawing", _drawing),
            ("chart", _chart),
            ("screen", _screen),
            ("slice or limb", _body_part),
        ):
            for number in range(count):
                yield Strange(side, kind, f"drawn-{number}", draw(random, number))
    yield from _of_pydicom()
    for path in sorted((PROJECT / "docs" / "images").glob("*.png")):
        yield Strange("measure", "screen", f"app-{path.stem}", Image.open(path).convert("RGB"))
    for folder in more:
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in (".png", ".jpg", ".jpeg"):
                kind = path.parent.name
                image = Image.open(path).convert("RGB")
                yield from _photograph("measure", kind, f"more-{path.stem}", image, np.random.default_rng(1))


def _of_packages() -> Iterator[Strange]:
    from skimage import data
    from sklearn.datasets import load_sample_images

    folder = Path(str(data.__file__)).parent
    pictures = {path.stem: path for path in folder.iterdir() if path.suffix in (".png", ".jpg")}
    random = np.random.default_rng(5)
    photographs = {
        name: Image.open(path).convert("RGB")
        for name, path in sorted(pictures.items())
        if name not in _NO_PHOTOS and name != "motorcycle_right"  # the left one again
    }
    samples = load_sample_images()
    for name, pixels in zip(samples.filenames, samples.images, strict=True):
        photographs[Path(name).stem] = Image.fromarray(pixels)
    for number, (name, image) in enumerate(sorted(photographs.items())):
        yield from _photograph(SIDES[number % 2], "photograph", name, image, random)
    for number, (name, kind) in enumerate(sorted(_NO_PHOTOS.items())):
        image = Image.open(pictures[name]).convert("RGB")
        yield Strange(SIDES[number % 2], kind, name, image)
        yield Strange(SIDES[number % 2], kind, f"{name}-grey", image.convert("L"))
    for number, face in enumerate(_faces()[::5]):  # faces of 25 x 25 pixels, and parts of pictures
        pixels = np.rint(face * 255).astype(np.uint8)
        yield Strange(
            SIDES[number % 2],
            "photograph, tiny",
            f"lfw-{number}",
            Image.fromarray(pixels).resize((200, 200), Image.Resampling.BICUBIC),
        )


def _faces() -> NDArray[np.float64]:
    from skimage import data

    loaded: NDArray[np.float64] = data.lfw_subset()
    return loaded


def _photograph(
    side: str, kind: str, name: str, image: Image.Image, random: np.random.Generator
) -> Iterator[Strange]:
    """A photograph in colour and in grey, its negative, and parts of it in grey where it is large enough."""
    grey = image.convert("L")
    yield Strange(side, kind, name, image)
    yield Strange(side, f"{kind}, grey", name, grey)
    yield Strange(side, f"{kind}, grey", f"{name}-negative", ImageOps.invert(grey))
    if min(image.size) < SMALLEST_CUT:
        return
    for number in range(PARTS):
        share = random.uniform(0.3, 0.8)
        width, height = max(32, int(share * image.width)), max(32, int(share * image.height))
        left = int(random.integers(0, image.width - width + 1))
        top = int(random.integers(0, image.height - height + 1))
        part = grey.crop((left, top, left + width, top + height))
        yield Strange(side, f"{kind}, part in grey", f"{name}-{number}", part)


def _of_pydicom() -> Iterator[Strange]:
    """The slices of CT and MR that pydicom carries, seen through their whole range and through a narrower one."""
    import pydicom
    from pydicom.data import get_testdata_file

    for name in ("CT_small.dcm", "MR_small.dcm", "693_J2KI.dcm", "MR_truncated.dcm", "JPEG2000.dcm"):
        path = get_testdata_file(name, download=False)
        if path is None:
            continue
        try:
            values = pydicom.dcmread(str(path)).pixel_array.astype(np.float64)
        except Exception:  # a decoder that is not installed, a file meant to be broken
            continue
        values = values.reshape(-1, *values.shape[-2:])[0]
        for label, (low, high) in {"all": (0, 100), "window": (5, 95), "narrow": (30, 99)}.items():
            lowest, highest = np.percentile(values, [low, high])
            shown = np.clip((values - lowest) / max(highest - lowest, 1) * 255, 0, 255).astype(np.uint8)
            yield Strange(
                "measure", "slice or limb", f"{name}-{label}", Image.fromarray(shown).resize((256, 256))
            )


def _as_image(values: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _coloured(values: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """White noise whose amplitude falls with frequency to the power of ``exponent``; mean 0, deviation 1."""
    spectrum = np.fft.fft2(values)
    frequencies = np.hypot(*np.meshgrid(*(np.fft.fftfreq(side) for side in values.shape), indexing="ij"))
    frequencies[0, 0] = 1
    spectrum *= frequencies**-exponent
    spectrum[0, 0] = 0
    made = np.real(np.fft.ifft2(spectrum))
    return np.asarray(made / made.std())


def _noise(random: np.random.Generator, number: int) -> Image.Image:
    side = int(random.choice([224, 256, 320]))
    white = random.standard_normal((side, side))
    mean, spread = random.uniform(80, 170), random.uniform(20, 70)
    match number % 8:
        case 0:
            return _as_image(random.uniform(0, 255, (side, side)))
        case 1:
            return _as_image(mean + spread * white)
        case 2:
            return _as_image(np.where(white > 1.3, 255.0, np.where(white < -1.3, 0.0, 128.0)))
        case 3 | 4 | 5:
            return _as_image(mean + spread * _coloured(white, 0.5 * (number % 8 - 2)))
        case 6:
            coarse = Image.fromarray(random.integers(0, 256, (7, 7), dtype=np.uint8))
            return coarse.resize((side, side), Image.Resampling.BICUBIC)
        case _:
            return _as_image(mean + spread * white[:, :1] + 5 * white)


def _blank(random: np.random.Generator, number: int) -> Image.Image:
    side = 256
    across, down = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side))
    level, noise = random.uniform(0, 255), random.uniform(0.3, 4) * random.standard_normal((side, side))
    match number % 6:
        case 0:
            return _as_image(level + noise)
        case 1:
            return _as_image(random.uniform(80, 180) + random.uniform(40, 100) * across + noise)
        case 2:
            return _as_image(random.uniform(80, 180) - random.uniform(40, 100) * down + noise)
        case 3:
            return _as_image(random.uniform(150, 250) - 120 * (across**2 + down**2) + noise)
        case 4:
            return _as_image(random.uniform(20, 100) + 120 * (across**2 + down**2) + noise)
        case _:
            values = np.full((side, side), level)
            values[:3, :3] = 255 - level
            return _as_image(values)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _line(random: np.random.Generator, words: int) -> str:
    return " ".join(random.choice(_WORDS, words))


def _document(random: np.random.Generator, number: int) -> Image.Image:
    width, height = (620, 877) if number % 2 else (877, 620)
    page = Image.new("L", (width, height), int(random.integers(225, 256)))
    pen = ImageDraw.Draw(page)
    size = int(random.integers(11, 26))
    left = int(random.integers(30, 90))
    top = 40
    pen.text((left, top), _line(random, 3).title(), fill=0, font=_font(2 * size))
    top += 4 * size
    while top < height - 60:
        if random.random() < 0.12:
            rows, columns = int(random.integers(2, 6)), int(random.integers(2, 5))
            for row in range(rows + 1):
                pen.line((left, top + row * 2 * size, width - left, top + row * 2 * size), fill=90)
            for column in range(columns + 1):
                x = left + column * (width - 2 * left) // columns
                pen.line((x, top, x, top + rows * 2 * size), fill=90)
            top += (rows + 1) * 2 * size
        else:
            pen.text((left, top), _line(random, int(random.integers(3, 12))), fill=20, font=_font(size))
            top += int(1.6 * size)
    if number % 4 == 3:  # as a scanner or a telephone gives it
        page = page.rotate(random.uniform(-6, 6), fillcolor=110, expand=True).filter(
            ImageFilter.GaussianBlur(1)
        )
    return ImageOps.invert(page) if number % 8 == 5 else page


def _drawing(random: np.random.Generator, number: int) -> Image.Image:
    side = 400
    colour = number % 3 == 0
    page = Image.new("RGB", (side, side), (255, 255, 255) if number % 2 else (0, 0, 0))
    pen = ImageDraw.Draw(page)
    for _ in range(int(random.integers(3, 25))):
        level = [int(value) for value in random.integers(0, 256, 3)]
        ink = (level[0], level[1], level[2]) if colour else (level[0], level[0], level[0])
        x, y = (int(value) for value in random.integers(0, side, 2))
        w, h = (int(value) for value in random.integers(20, 200, 2))
        match int(random.integers(0, 5)):
            case 0:
                pen.ellipse((x, y, x + w, y + h), fill=ink)
            case 1:
                pen.rectangle((x, y, x + w, y + h), fill=ink)
            case 2:
                pen.line(
                    [tuple(map(int, random.integers(0, side, 2))) for _ in range(5)], fill=ink, width=w // 20
                )
            case 3:
                pen.polygon([tuple(map(int, random.integers(0, side, 2))) for _ in range(3)], fill=ink)
            case _:
                pen.arc((x, y, x + w, y + h), 0, int(random.integers(90, 360)), fill=ink, width=w // 15)
    return page if colour else page.convert("L")


def _chart(random: np.random.Generator, number: int) -> Image.Image:
    width, height = 560, 400
    dark = number % 3 == 0
    ground, ink = ((24, 26, 30), (210, 210, 210)) if dark else ((255, 255, 255), (40, 40, 40))
    page = Image.new("RGB", (width, height), ground)
    pen = ImageDraw.Draw(page)
    pen.line((60, 30, 60, height - 50, width - 30, height - 50), fill=ink, width=2)
    pen.text((150, 8), _line(random, 3), fill=ink, font=_font(16))
    for step in range(6):
        pen.text((15, 40 + step * 55), f"{100 - 20 * step}", fill=ink, font=_font(13))
    shades = [tuple(int(value) for value in random.integers(30, 226, 3)) for _ in range(4)]
    match number % 4:
        case 0:
            bars = int(random.integers(4, 12))
            step = (width - 110) // bars
            for bar in range(bars):
                top = int(random.integers(60, height - 60))
                pen.rectangle(
                    (70 + bar * step, top, 60 + (bar + 1) * step, height - 51), fill=shades[bar % 4]
                )
        case 1:
            for shade in shades:
                heights = 200 + np.cumsum(random.normal(0, 18, 40))
                pen.line(
                    [(60 + 11 * place, int(value)) for place, value in enumerate(heights)],
                    fill=shade,
                    width=3,
                )
        case 2:
            for x, y in random.normal((300, 190), (90, 60), (250, 2)):
                pen.ellipse((int(x), int(y), int(x) + 6, int(y) + 6), fill=shades[int(x) % 4])
        case _:
            start = 0.0
            for shade, share in zip(shades, random.dirichlet(np.ones(4)) * 360, strict=True):
                pen.pieslice((150, 50, 420, 320), start, start + share, fill=shade)
                start += share
    return page if number % 2 else page.convert("L")


def _screen(random: np.random.Generator, number: int) -> Image.Image:
    width, height = ((1280, 800), (390, 844), (1024, 768))[number % 3]
    dark = bool(random.integers(0, 2))
    base = int(random.integers(15, 50) if dark else random.integers(215, 250))
    page = Image.new("RGB", (width, height), (base, base, min(base + 5, 255)))
    pen = ImageDraw.Draw(page)
    pen.rectangle((0, 0, width, 40), fill=(40, 60, 90))
    pen.text((12, 10), _line(random, 2).title(), fill=(230, 230, 230), font=_font(18))
    pen.rectangle((0, 40, width // 5, height), fill=(max(base - 12, 0),) * 3)
    ink = (225,) * 3 if dark else (30,) * 3
    for row in range(12):
        pen.text((10, 60 + 34 * row), _line(random, 1), fill=ink, font=_font(15))
    for _ in range(int(random.integers(3, 9))):
        x, y = int(random.integers(width // 5, width - 120)), int(random.integers(60, height - 120))
        w, h = int(random.integers(100, width // 2)), int(random.integers(40, height // 3))
        level = int(random.integers(0, 256))
        pen.rectangle((x, y, x + w, y + h), fill=(level,) * 3, outline=ink)
        pen.text((x + 8, y + 8), _line(random, 3), fill=(255 - level,) * 3, font=_font(15))
    return page if number % 2 else page.convert("L")


def _body_part(random: np.random.Generator, number: int) -> Image.Image:
    """A rough body slice (a body ellipse with organs and a ring of bone) or a rough limb (two bones in soft tissue)."""
    side = 256
    across, down = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side))

    def ellipse(x: float, y: float, w: float, h: float) -> NDArray[np.float64]:
        inside = 1 - ((across - x) / w) ** 2 - ((down - y) / h) ** 2
        return np.asarray(1 / (1 + np.exp(-np.clip(inside * 25, -60, 60))))

    values = np.zeros((side, side))
    if number % 2:
        values += random.uniform(80, 120) * ellipse(
            0, 0, random.uniform(0.75, 0.95), random.uniform(0.5, 0.8)
        )
        if number % 4 == 1:  # lungs
            for x in (-0.42, 0.42):
                values -= 75 * ellipse(x + random.normal(0, 0.03), -0.05, 0.28, random.uniform(0.3, 0.45))
            values += 40 * ellipse(0.08, 0, 0.2, 0.25)
        else:
            for _ in range(6):
                x, y = random.uniform(-0.5, 0.5), random.uniform(-0.35, 0.35)
                values += random.uniform(-25, 45) * ellipse(
                    x, y, random.uniform(0.08, 0.3), random.uniform(0.08, 0.25)
                )
        values += 130 * ellipse(0, 0.42, 0.12, 0.12) - 60 * ellipse(0, 0.42, 0.05, 0.05)
    else:
        width = random.uniform(0.35, 0.6)
        tilt = random.uniform(-0.3, 0.3) * down
        values += random.uniform(60, 100) * np.exp(-(((across - tilt) / width) ** 4))
        for x in (-0.17, 0.17):
            shaft = np.exp(-(((across - tilt - x) / (0.09 + 0.05 * down**2)) ** 4))
            values += (random.uniform(80, 120) + 10 * np.sin(40 * down)) * shaft * (np.abs(down) > 0.03)
    values += 4 * _coloured(random.standard_normal((side, side)), 0.7)
    return _as_image(values)


def write_strange(out: Path, *, count: int = 16, more: Sequence[Path] = ()) -> int:
    """Write all pictures under ``out``; how many."""
    written = 0
    for picture in strange_pictures(count=count, more=more):
        path = out / picture.side / picture.kind / f"{picture.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = picture.image
        if image.mode not in ("L", "RGB"):
            image = image.convert("RGB")
        image.save(path)
        written += 1
    return written


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.strange_pictures", description=__doc__.split("\n")[0]
    )
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--more", type=Path, nargs="*", default=(), metavar="FOLDER", help="to measure on")
    parser.add_argument("--count", type=int, default=16, metavar="N", help="of each kind drawn (default 16)")
    chosen = parser.parse_args(arguments)
    written = write_strange(chosen.out, count=chosen.count, more=chosen.more)
    sys.stdout.write(f"{written} pictures in {chosen.out}.\n")


if __name__ == "__main__":
    main()
