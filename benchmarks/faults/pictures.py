"""Odd pictures and odd prompts: python -m benchmarks.faults pictures [--count N] [--seed S]

A picture file of a stranger is read right, or refused in one line; a prompt of any letters draws one picture that says
the prompt, or is refused in one line."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import pickle
import random
import signal
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ldm.cli import one_line, run_command
from ldm.errors import UserError

COUNT = 400  # picture files; a quarter as many prompts
SIDE = 32
LIMIT = 60  # seconds for a trial


def in_child(trial: Callable[[], str], limit: int = LIMIT) -> str:
    """What trial returns in a process of its own: "" for good, else what went wrong; also when it dies or hangs."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(limit)
        try:
            verdict = trial()
        except BaseException as error:
            verdict = f"{type(error).__name__}: {error}"
        with os.fdopen(write, "wb") as pipe:
            pipe.write(pickle.dumps(verdict))
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read()
    status = os.waitpid(child, 0)[1]
    if not answer:
        return "hangs" if os.WTERMSIG(status) == signal.SIGALRM else f"dies with status {status}"
    return pickle.loads(answer)  # from this program's own child


# Pictures ------------------------------------------------------------------------------------------------------------

def reference() -> Image.Image:
    """Slow changes of colour, the same whatever a codec does to them."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1)
    return Image.fromarray((np.stack([x, y, 1 - x], axis=-1) * 200 + 20).round().astype(np.uint8))


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    """An image as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format=file_format, **options)
    return buffer.getvalue()


def good_files() -> Iterator[tuple[str, bytes, np.ndarray, int]]:
    """(name, content, RGB pixels it must come to, how far off a pixel may be) of formats and modes."""
    rgb = reference()
    pixels, grey = np.asarray(rgb), np.asarray(rgb.convert("L"))
    grey_rgb = np.repeat(grey[..., None], 3, axis=2)
    for name, file_format, options, off in (
            ("a.jpg", "JPEG", {"quality": 95}, 20), ("a.JPEG", "JPEG", {"quality": 95, "progressive": True}, 20),
            ("a.jpe", "JPEG", {"quality": 95}, 20), ("a.jfif", "JPEG", {"quality": 95}, 20),
            ("a.png", "PNG", {}, 0), ("a.PNG", "PNG", {"compress_level": 0}, 0), ("no suffix", "PNG", {}, 0),
            ("png.jpg", "PNG", {}, 0), ("jpeg.heic", "JPEG", {"quality": 95}, 20), ("a.picture", "WEBP", {}, 30),
            ("a.webp", "WEBP", {"lossless": True}, 0), ("a.bmp", "BMP", {}, 0), ("a.dib", "DIB", {}, 0),
            ("a.tif", "TIFF", {}, 0), ("a.tiff", "TIFF", {"compression": "tiff_lzw"}, 0),
            ("deflate.tif", "TIFF", {"compression": "tiff_adobe_deflate"}, 0), ("a.ppm", "PPM", {}, 0),
            ("a.tga", "TGA", {}, 0), ("a.pcx", "PCX", {}, 0), ("a.sgi", "SGI", {}, 0), ("a.qoi", "QOI", {}, 0),
            ("a.jp2", "JPEG2000", {}, 0), ("a.avif", "AVIF", {"quality": 95}, 20),
            ("a.heic", "HEIF", {"quality": 95}, 20)):
        with contextlib.suppress(KeyError, OSError, ValueError):  # a codec that this Pillow does not write
            yield name, encoded(rgb, file_format, **options), pixels, off
    for mode in ("RGBA", "YCbCr", "LAB", "CMYK"):
        if mode == "LAB":
            from PIL import ImageCms
            lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
            image = ImageCms.profileToProfile(rgb, srgb, lab, outputMode="LAB")
            assert image is not None
        else:
            image = rgb.convert(mode)
        packed = {"compression": "tiff_lzw"} if mode == "YCbCr" else {}  # plain, Pillow before 13 does not read its own
        yield f"{mode}.tif", encoded(image, "TIFF", **packed), pixels, 25
    yield "cmyk.jpg", encoded(rgb.convert("CMYK"), "JPEG", quality=95), pixels, 25
    yield "cmyk-icc.jpg", encoded(rgb.convert("CMYK"), "JPEG", quality=95, icc_profile=b"no profile"), pixels, 25
    yield "palette.png", encoded(rgb.quantize(256), "PNG"), pixels, 40
    yield "palette.gif", encoded(rgb.quantize(256), "GIF"), pixels, 40
    for name, mode, values in (
            ("l8", "L", grey), ("i16", "I;16", grey.astype(np.uint16) * 257), ("i32", "I", grey.astype(np.int32) * 257),
            ("i32-8bit", "I", grey.astype(np.int32)), ("float", "F", grey.astype(np.float32) / 255)):
        yield f"{name}.tif", encoded(Image.fromarray(values), "TIFF"), grey_rgb, 1
        if mode in ("L", "I;16"):
            yield f"{name}.png", encoded(Image.fromarray(values), "PNG"), grey_rgb, 1
    bits = grey > 127
    for file_format, suffix in (("PNG", "png"), ("TIFF", "tif"), ("BMP", "bmp"), ("PPM", "pbm")):
        yield (f"bits.{suffix}", encoded(Image.fromarray(bits), file_format),
               np.repeat(bits[..., None], 3, axis=2) * np.uint8(255), 0)
    clear = rgb.convert("RGBA")
    clear.putalpha(0)
    white = np.full_like(pixels, 255)
    for file_format, suffix in (("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tif")):
        yield f"clear.{suffix}", encoded(clear, file_format), white, 0
    palette = Image.new("P", (SIDE, SIDE), 0)
    yield "clear-palette.png", encoded(palette, "PNG", transparency=0), white, 0
    yield "clear-la.png", encoded(Image.new("LA", (SIDE, SIDE), (0, 0)), "PNG"), white, 0
    black = Image.new("RGB", (SIDE, SIDE))
    for file_format, suffix in (("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tif")):
        options = {"lossless": True} if file_format == "WEBP" else {}
        yield (f"several.{suffix}", encoded(rgb, file_format, save_all=True, append_images=[black], **options), pixels,
               0)
    yield "several.gif", encoded(rgb.quantize(256), "GIF", save_all=True, append_images=[black]), pixels, 40


def bad_files() -> Iterator[tuple[str, bytes]]:
    """(name, content) of files with a picture's name that must be refused."""
    grey = np.asarray(reference().convert("L"))
    for name, values in (("negative", -grey.astype(np.float32)), ("far", grey.astype(np.float32)),
                         ("nan", np.full((4, 4), np.nan, np.float32)), ("inf", np.full((4, 4), np.inf, np.float32)),
                         ("wide", grey.astype(np.int32) * 2**20), ("below", -grey.astype(np.int32))):
        yield f"{name}.tif", encoded(Image.fromarray(values), "TIFF")
    bomb = bytearray(encoded(Image.new("L", (1, 1)), "PNG"))
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    yield "bomb.png", bytes(bomb)
    for name, content in (("empty", b""), ("text", b"BMW is no picture, GIF8 neither\n" * 40), ("zeros", bytes(4000)),
                          ("page", b"<!DOCTYPE html><html></html>"), ("postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n"),
                          ("vector", b"<svg xmlns='http://www.w3.org/2000/svg'/>"), ("line\nbreak", b"no picture")):
        for suffix in ("jpg", "png", "tif", "webp", "avif", "heic", "gif", "bmp"):
            yield f"{name}.{suffix}", content


def damaged(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    """(what was done, content) of a file that met with an accident."""
    kind = rng.choice(("cut", "flipped", "zeroed", "doubled", "holed"))
    place = rng.randrange(1, len(content))
    if kind == "cut":
        return kind, content[:place]
    data = bytearray(content)
    if kind == "flipped":
        for _ in range(rng.choice((1, 8, 64))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "zeroed":
        data[place : place + 64] = bytes(len(data[place : place + 64]))
    elif kind == "doubled":
        data[place:place] = data[:place]
    else:
        del data[place : place + rng.randrange(1, 200)]
    return kind, bytes(data)


def picture_trials(rng: random.Random, files: int) -> Iterator[tuple[str, str, bytes, np.ndarray | None, int]]:
    """(what it is, name, content, the pixels it must come to if any, how far off) of at least so many files."""
    good, bad = list(good_files()), list(bad_files())
    yield from (("good", *file) for file in good)
    yield from (("bad", name, content, None, 0) for name, content in bad)
    for _ in range(files - len(good) - len(bad)):
        name, content, pixels, off = rng.choice(good)
        kind, content = damaged(rng, content)
        yield kind, name, content, pixels, off


def read_picture(kind: str, name: str, content: bytes, pixels: np.ndarray | None, off: int) -> str:
    """Put a file into a folder and read it as training does; "" or what went wrong."""
    from ldm.data.personalized import PersonalizedBase

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, name).write_bytes(content)
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            try:
                data = PersonalizedBase(folder, flip_p=0.0)
            except UserError as error:
                line = one_line(error)  # as the command line prints it
                return "" if kind != "good" and line and len(line.splitlines()) == 1 else f"refused: {error}"
        image = data.images[0]
        if "Traceback" in said.getvalue() or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            return f"not RGB, or a traceback: {image.dtype} {image.shape} {said.getvalue()}"
        if kind == "bad":
            return "was not refused"
        if kind in ("good", "cut") and pixels is not None:  # what is cut must not come out half grey
            if image.shape != pixels.shape:
                return f"another shape: {image.shape}"
            difference = int(np.abs(image.astype(int) - pixels.astype(int)).max())
            return "" if difference <= off else f"pixels are off by {difference}"
        return ""


# Prompts -------------------------------------------------------------------------------------------------------------

PROMPTS = [
    "", " ", "\t\n ", "*", "**" * 40, "%s%d{}{0}", "{*}", "$(id)", "`id`", "a\nSteps: 1, Seed: 2", "a\r\nb", "a\x00b",
    "\x1b[31mred\x1b[0m", "a\\nb\\", "../../../etc/passwd", "/absolute/*", "C:\\windows\\*", "~/*", "CON", ".", "..",
    "-", "--", "<mask>", "[MASK]", "[PAD][CLS][SEP]", "[UNK]", "😀", "👩‍👩‍👧‍👦 *", "빨간 사과", "* 사진",
    "日本の*", "مرحبا *", "\u202etxet", "שלום", "é" * 300, "\u0301" * 100, "𐌰" * 70, "ﬁ", "Ａ＊", "\ufeff*", "\u200b",
    "\u2028\u2029", "\x85", "\ufffd", "\udcff", "a\ud800", "x" * 100_000, "a " * 50_000, "사과 " * 10_000, "\U0010ffff",
    "'", '"', "''\"\"", "a, Seed: 7", "Negative prompt: x", "|", ";", "&", "#", "\x7f", "A" * 255, "ß" * 128, "NaN",
    "None", "a * and a *", "SKS", "\\", "\\\\u0041", "%00", "&#x2a;", "a/b/c", "a:b", "*.png", "?", "con.png", "\b\b",
    "\f\v",
]
ALPHABETS = ("abc *", "\x00\x01\x1f\x7f\x85", "🍎😀👩\u200d❤\ufe0f", "가나다 사과*", "\u202a\u202e\u2066אבج",
             "%s{}\\/.$`'\"", "\n\r\t\u2028 ", "éàü\u0301\u0300", "\ud800\udcff a", "𐌰𝔸𓀀", "[]<>CLSPAD",
             ",: StepsSeed\n")


def prompts(rng: random.Random, most: int) -> Iterator[str]:
    """PROMPTS, then others of letters that do not go together."""
    yield from PROMPTS[:most]
    for _ in range(most - len(PROMPTS)):
        letters = "".join(rng.sample(ALPHABETS, rng.randint(1, 3)))
        yield "".join(rng.choices(letters, k=rng.choice((1, 3, 20, 200))))


def draw_prompt(prompt: str, script: str = "txt2img") -> str:
    """Draw a prompt by the command's main; "" or what went wrong."""
    from ldm.parameters import picture_parameters

    command = importlib.import_module(script)
    said, status = io.StringIO(), 0
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            try:
                run_command(lambda: command.main(["--n_samples", "1", "--ddim_steps", "1", "--outdir", str(out),
                                                  f"--prompt={prompt}"]))
            except SystemExit as stop:
                status = int(stop.code or 0)
        lines, files = said.getvalue().splitlines(), sorted(out.glob("samples/*.png"))
        if "Traceback" in said.getvalue() or os.listdir(folder) not in ([], ["out"]):
            return f"a traceback, or files elsewhere: {said.getvalue()[-200:]}"
        if status == 2:
            errors = [line for line in lines if line.startswith("error: ")]
            return "" if len(errors) == 1 and lines[-1] == errors[0] and not out.exists() else f"not a line: {lines}"
        if status or len(files) != 1:
            return f"status {status}, {len(files)} pictures"
        found = picture_parameters(files[0])
        return "" if found.prompt == prompt and found.settings["Seed"] == "42" else f"says {found}"


def run(seed: int, files: int) -> tuple[int, int, list[str]]:
    """(how many of how many trials were good, the failures in words) of so many files and a quarter as many prompts."""
    for module in ("txt2img", "ldm.data.personalized", "ldm.models.diffusion.ddpm", "ldm.generate"):
        importlib.import_module(module)  # once, before the forks
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    failures, total = [], 0
    rng = random.Random(seed)
    for kind, name, content, pixels, off in picture_trials(rng, files):
        verdict = in_child(partial(read_picture, kind, name, content, pixels, off))
        total += 1
        if verdict:
            failures.append(f"{kind} {name!r}: {verdict}")
    for prompt in prompts(rng, files // 4):
        for script in ("txt2img", "txt2img_v2")[: 1 + (total % 4 == 0)]:
            verdict = in_child(partial(draw_prompt, prompt, script))
            total += 1
            if verdict:
                failures.append(f"{script} {ascii(prompt)[:80]}: {verdict}")
    return total - len(failures), total, failures
