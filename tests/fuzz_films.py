"""Mutate films and read them: `read_xray` must answer each with a film or an `ImageError`, soon, and in little memory.

    python -m tests.fuzz_films --format dicom --count 100000

A child process reads the films, so that a crash is seen and counted; what it was reading is kept in ``--keep``. The
reading of one input may take two seconds of processor time, and 1 GB more than the child held at first. The last line
is a JSON object with what was counted; the exit status is 0 only if nothing went wrong.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import random
import resource
import struct
import sys
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from model.films import ImageError, read_xray

LONGEST_SECONDS = 2.0
MOST_MEMORY = 2**30  # bytes
PATIENCE = 60.0  # seconds after which a child that says nothing is taken for hung
BATCH = 500
PACKAGED = (  # small films that pydicom carries
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_dcmtk_+eb+cy+s2.dcm",
    "SC_rgb_gdcm_KY.dcm",
    "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_rle_16bit_2frame.dcm",
    "image_dfl.dcm",
    "test-SR.dcm",
)


def mutated(seed: bytes, chance: random.Random) -> bytes:
    """One input: some bytes changed, often near the beginning where the headers are; parts cut, doubled, moved."""
    data = bytearray(seed)
    for _ in range(chance.choice((1, 1, 2, 3, 5, 8))):
        if not data:
            break
        place = int(chance.random() ** chance.choice((1, 2, 4)) * len(data))
        match chance.randrange(7):
            case 0:
                data[place] = chance.randrange(256)
            case 1:
                data[place] ^= 1 << chance.randrange(8)
            case 2:
                data[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 3:
                data[place : place + 4] = chance.choice(
                    (b"\xff" * 4, bytes(4), b"\x00\x00\xff\xff", b"\x7f\xff\xff\xff", b"\x01\x00\x00\x00")
                )
            case 4 if chance.random() < 0.3:
                del data[place:]
            case 5:
                length = chance.randrange(1, 64)
                del data[place : place + length]
            case 6:
                length = chance.randrange(1, 64)
                data[place:place] = data[chance.randrange(len(data)) :][:length]
            case _:
                data[place] = (data[place] + chance.choice((-1, 1))) % 256
    return bytes(data)


def plain_seeds(kind: str) -> list[bytes]:
    """Small JPEG or PNG films of every sort that is read."""
    rows, columns = np.mgrid[0:48, 0:64]
    grey = Image.fromarray((rows * 2 + columns * 2).astype(np.uint8))
    deep = Image.fromarray((rows * 900 + columns * 300).astype(np.uint16))
    colour = Image.merge("RGB", (grey, grey.rotate(180), grey))

    def saved(image: Image.Image, **options: Any) -> bytes:
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        return stream.getvalue()

    if kind == "JPEG":
        exif = Image.Exif()
        exif[0x0112] = 6
        return [
            saved(grey),
            saved(grey, progressive=True, exif=exif),
            saved(colour, quality=95),
            saved(colour, progressive=True, subsampling=0),
            saved(colour.convert("CMYK")),
            saved(grey, comment=b"a comment", restart_marker_rows=1),
        ]
    return [
        saved(grey),
        saved(deep),
        saved(colour),
        saved(grey.convert("P")),
        saved(grey.convert("1")),
        saved(colour.convert("RGBA")),
        saved(grey.convert("LA")),
        saved(grey, save_all=True, append_images=[grey.rotate(90)]),
    ]


@cache
def seeds(kind: str) -> list[bytes]:
    if kind != "dicom":
        return plain_seeds(kind.upper())
    from pydicom.data import get_testdata_file

    from tests.model.dicom_films import every_kind

    packaged = (get_testdata_file(name, download=False) for name in PACKAGED)
    return [
        *(data for _, data in sorted(every_kind().items())),
        *(Path(str(name)).read_bytes() for name in packaged),
    ]


def with_right_check_sums(data: bytes) -> bytes:
    """Repair the check sums of a mutated PNG, so that the damage reaches the decoder; other files as they are."""
    if not data.startswith(b"\x89PNG"):
        return data
    repaired = bytearray(data)
    place = 8
    while place + 12 <= len(data):
        end = place + 8 + struct.unpack(">I", data[place : place + 4])[0]
        if end + 4 > len(data):
            break
        repaired[end : end + 4] = struct.pack(">I", zlib.crc32(data[place + 4 : end]))
        place = end + 4
    return bytes(repaired)


def inputs(kind: str, start: int, count: int) -> list[bytes]:
    """Inputs number ``start`` and on: each depends on its number alone, so any can be made again."""
    films = seeds(kind)
    made = []
    for number in range(start, start + count):
        chance = random.Random(number)
        data = mutated(chance.choice(films), chance)
        made.append(with_right_check_sums(data) if chance.random() < 0.8 else data)
    return made


def read_all(kind: str, start: int, count: int, current: Any, heard: Connection, answer: Connection) -> None:
    """The child: notes the number of each input before it is read, and says what came of it after."""
    heard.close()  # so that the child ends where its parent does
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    made = inputs(kind, start, count)
    warnings.simplefilter("ignore")
    before = _peak()  # a fork begins with what its parent holds
    for number, data in enumerate(made, start):
        current.value = number
        began = time.process_time()
        said = ""
        try:
            film = read_xray(data)
            outcome = "film" if film.pixels.dtype == np.uint8 and film.pixels.ndim == 2 else "no film"
        except ImageError as refusal:
            outcome, said = "refused", str(refusal)
        except BaseException as error:
            outcome, said = "escaped", repr(error)
        taken = time.process_time() - began
        if taken > LONGEST_SECONDS:
            outcome = "slow"
        held = _peak() - before
        if held > MOST_MEMORY:
            outcome = "large"
        answer.send((outcome, taken, held, said))
        if outcome == "large":  # the peak of a process never falls: go on in a new one
            break
    answer.send(("done", 0.0, 0, ""))


def _peak() -> int:
    """The most memory, in bytes, that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def run(
    kind: str,
    count: int,
    first: int,
    keep: Path | None,
    say: Callable[[str], None],
    *,
    seconds: float = float("inf"),
) -> dict[str, Any]:
    """Read ``count`` inputs from number ``first`` on, or as many as fit ``seconds``; count what came of them."""
    counted: Counter[str] = Counter()
    sentences: Counter[str] = Counter()
    slowest, most, number = 0.0, 0, first
    began = time.monotonic()
    bad: list[tuple[int, str]] = []
    read_xray(seeds(kind)[0])  # what is imported then, all children share
    context = multiprocessing.get_context("fork")
    while number < first + count and time.monotonic() - began < seconds:
        receiving, sending = context.Pipe(duplex=False)
        size = min(BATCH, first + count - number)
        current = context.RawValue("q", number)
        child = context.Process(target=read_all, args=(kind, number, size, current, receiving, sending))
        child.start()
        sending.close()
        ended = ""
        while not ended:
            try:
                if not receiving.poll(PATIENCE):
                    child.kill()
                    ended = "hung"
                    break
                word, taken, held, said = receiving.recv()
            except EOFError:
                ended = "crashed"
                break
            if word == "done":
                ended = "done"
                break
            counted[word] += 1
            slowest, most, number = max(slowest, taken), max(most, held), number + 1
            if word == "refused":
                sentences[said] += 1
            elif word != "film":
                bad.append((number - 1, f"{word} {said}".strip()))
        child.join()
        if ended != "done":
            counted[ended] += 1
            bad.append((current.value, ended))
            number = current.value + 1
        if (number - first) % 10_000 < BATCH:
            say(f"{kind}: {number - first} of {count}, {len(bad)} bad, {time.monotonic() - began:.0f} s")
    if keep is not None and bad:
        keep.mkdir(parents=True, exist_ok=True)
        for place, _ in bad:
            (keep / f"{kind}-{place}").write_bytes(inputs(kind, place, 1)[0])
    return {
        "format": kind,
        "inputs": sum(counted.values()),
        "first": first,
        **{
            word: counted[word]
            for word in ("film", "refused", "slow", "large", "escaped", "no film", "crashed", "hung")
        },
        "different_sentences": len(sentences),
        "slowest_seconds": round(slowest, 3),
        "most_memory_mb": round(most / 2**20),
        "seconds": round(time.monotonic() - began),
        "bad": bad[:20],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Mutate films and read them.")
    parser.add_argument("--format", choices=("dicom", "jpeg", "png"), required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--keep", type=Path, help="folder for inputs that went wrong")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    given = parser.parse_args()
    counts = run(
        given.format,
        given.count,
        given.first,
        given.keep,
        lambda line: print(line, file=sys.stderr, flush=True),
        seconds=given.seconds,
    )
    print(json.dumps(counts))
    return 1 if counts["bad"] else 0


if __name__ == "__main__":
    sys.exit(main())
