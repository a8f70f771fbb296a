"""Families of things drawn by code, each with any number of members: a member's number says all of it."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable

from PIL import Image

from pretrain.canvas import Canvas, Point, shade

Words = tuple[str, ...]  # what distinguishes a member, as adjectives: "striped"


def spots(c: Canvas, points: list[Point], size: float) -> None:
    """Spots of the second colour."""
    for x, y in points:
        c.oval(x, y, size * c.rng.uniform(0.7, 1.2), size * c.rng.uniform(0.7, 1.2), c.second, edge=False)


def creature(c: Canvas) -> Words:
    """A friendly monster: a round or tall body, feet, horns or ears or antennae, one to three eyes."""
    rng, words = c.rng, []
    wide, tall = rng.uniform(20, 34), rng.uniform(22, 36)
    top, power = 54 - tall, rng.choice((2.0, 2.4, 3.5))
    for side in (-1, 1):
        c.oval(50 + side * wide * 0.45, 56 + tall, wide * 0.3, 5, shade(c.main, -0.15))
    crown = rng.choice(("horns", "ears", "antennae", ""))
    for side in (-1, 1):
        x = 50 + side * wide * 0.55
        if crown == "horns":
            c.shape([(x - 5, top + 10), (x + side * 6, top - rng.uniform(8, 12)), (x + 5, top + 10)], c.second)
        elif crown == "ears":
            c.oval(x + side * 4, top + 4, 8, 11, c.main)
            c.oval(x + side * 4, top + 4, 4, 6.5, c.second, edge=False)
        elif crown == "antennae":
            c.stroke([(x * 0.5 + 25, top + 6), (x, top - 6), (x + side * 5, top - 10)], c.main, 2.2)
            c.oval(x + side * 5, top - 11, 4, 4, c.second)
    words += ["horned"] if crown == "horns" else []
    if c.maybe(0.7):
        lift = rng.uniform(-14, 10)
        for side in (-1, 1):
            c.stroke([(50 + side * wide * 0.85, 56), (50 + side * (wide + 9), 58 + lift * 0.3),
                      (50 + side * (wide + 12), 58 + lift)], c.main, 6)
    c.oval(50, 56, wide, tall, c.main, power=power)
    if c.maybe(0.35):
        c.oval(50, 56 + tall * 0.35, wide * 0.6, tall * 0.5, shade(c.main, 0.35), edge=False)
    elif c.maybe(0.35):
        spots(c, [(50 + rng.uniform(-0.6, 0.6) * wide, 62 + rng.uniform(0, 0.5) * tall) for _ in range(5)], 3.5)
        words.append("spotted")
    eyes = rng.choice((1, 2, 2, 2, 3))
    words += ["one-eyed"] if eyes == 1 else ["three-eyed"] if eyes == 3 else []
    c.eyes(50, 56 - tall * 0.35, wide * (0.8 if eyes == 2 else 0.6), rng.uniform(5, 8) + 3 * (eyes == 1), eyes)
    c.mouth(50, 57 + tall * 0.15, wide * rng.uniform(0.5, 0.9))
    return tuple(words)


def fish(c: Canvas) -> Words:
    """A fish that looks to the left."""
    rng, words = c.rng, []
    long, high = rng.uniform(24, 34), rng.uniform(12, 24)
    tail, flare = 50 + long * 0.8, rng.uniform(10, 18)
    c.blob([(tail - 4, 50), (tail + 14, 50 - flare), (tail + rng.uniform(4, 12), 50), (tail + 14, 50 + flare)],
           c.second)
    fin = rng.uniform(6, 14)
    c.blob([(50 - long * 0.3, 52 - high * 0.8), (50 + long * 0.1, 48 - high - fin), (50 + long * 0.5, 50 - high * 0.6)],
           c.second)
    if c.maybe(0.6):
        c.blob([(50 - long * 0.1, 50 + high * 0.8), (50 + long * 0.2, 50 + high + fin * 0.7),
                (50 + long * 0.4, 50 + high * 0.6)], c.second)
    back = [(-1.0, 0.0), (-0.55, -0.85), (0.0, -1.0), (0.6, -0.55), (1.0, 0.0), (0.6, 0.55), (0.0, 1.0), (-0.55, 0.85)]
    c.blob([(50 + long * x, 50 + high * y) for x, y in back], c.main)
    marks = rng.choice(("striped", "spotted", "", ""))
    if marks == "striped":
        for at in (-0.15, 0.2, 0.5)[: rng.choice((2, 3))]:
            reach = high * (0.86 - 0.7 * abs(at) ** 1.5)
            x = 50 + long * at
            c.stroke([(x, 50 - reach), (x + 3, 50), (x, 50 + reach)], c.second, long * 0.13, edge=False)
    elif marks == "spotted":
        spots(c, [(50 + long * rng.uniform(-0.2, 0.6), 50 + high * rng.uniform(-0.45, 0.45)) for _ in range(6)], 2.8)
    words += [marks] if marks else []
    c.stroke([(50 - long * 0.3, 50 - high * 0.45), (50 - long * 0.2, 50), (50 - long * 0.3, 50 + high * 0.45)],
             shade(c.main, -0.3), 1.6, edge=False)
    c.eyes(50 - long * 0.6, 50 - high * 0.25, 0, rng.uniform(3.5, 6), 1)
    c.stroke([(50 - long * 0.95, 50 + high * 0.2), (50 - long * 0.75, 50 + high * 0.3)], (40, 16, 24), 1.6, edge=False)
    return tuple(words)


def plant(c: Canvas) -> Words:
    """A plant in a pot: leaves of one shape, with or without flowers."""
    rng = c.rng
    green = shade((rng.randint(40, 90), rng.randint(130, 180), rng.randint(50, 100)), rng.uniform(-0.25, 0.15))
    leaf, flowers = rng.choice(("long", "round", "pointed")), c.maybe(0.45)
    count, reach = rng.choice((3, 5, 5, 7)), rng.uniform(26, 40)
    for i in range(count):
        angle = (i - (count - 1) / 2) * rng.uniform(0.28, 0.4) * (5 / count) ** 0.5
        x, y = 50 + reach * math.sin(angle) * 1.1, 62 - reach * math.cos(angle)
        if leaf == "long":
            bend = 50 + reach * math.sin(angle) * 0.35
            c.blob([(48, 64), (bend - 3, 64 - reach * 0.55), (x, y), (bend + 3.5, 64 - reach * 0.5), (52, 64)], green)
        else:
            c.stroke([(50, 64), (50 + (x - 50) * 0.4, 64 - reach * 0.5), (x, y)], shade(green, -0.25), 2, edge=False)
            rx, ry = (7, 8) if leaf == "round" else (5, 11)
            c.oval(x, y, rx, ry, green, turned=angle)
    if flowers:
        for i in range(rng.choice((1, 2, 3))):
            x, y = 50 + (i - 1) * 15 + rng.uniform(-4, 4), 62 - reach - rng.uniform(-4, 6)
            for k in range(5):
                c.oval(x + 5 * math.cos(k * 1.257), y + 5 * math.sin(k * 1.257), 4.4, 4.4, c.second)
            c.oval(x, y, 3.4, 3.4, (250, 210, 70))
    lip, foot, high = rng.uniform(17, 22), rng.uniform(10, 17), rng.uniform(18, 26)
    c.shape([(50 - lip + 2, 64), (50 + lip - 2, 64), (50 + foot, 64 + high), (50 - foot, 64 + high)], c.main)
    if c.maybe(0.6):
        c.box(50 - lip, 61, 50 + lip, 67, c.main, round_by=1.5)
    return ("flowering",) if flowers else ()


def truck(c: Canvas) -> Words:
    """A truck from the side: a cab on the left and a box, a tank or an open bed behind it."""
    rng = c.rng
    floor, cab, top = 70.0, rng.uniform(16, 22), rng.uniform(36, 46)
    load = rng.choice(("box", "box", "tank", "bed"))
    high = rng.uniform(24, 38)
    c.box(14, floor - 6, 90, floor, shade(c.main, -0.4), round_by=1)
    if load == "tank":
        c.box(14 + cab + 3, floor - high * 0.85, 90, floor - 4, c.second, round_by=12)
        c.stroke([(14 + cab + 12, floor - high * 0.4), (82, floor - high * 0.4)], shade(c.second, -0.2), 2, edge=False)
    elif load == "bed":
        c.box(14 + cab + 3, floor - high * 0.4, 90, floor - 4, c.second)
        if c.maybe(0.6):
            for k in range(3):
                c.oval(14 + cab + 14 + k * 14, floor - high * 0.45, 9, 8, (150, 110, 70))
            c.box(14 + cab + 3, floor - high * 0.4, 90, floor - 4, c.second)
    else:
        c.box(14 + cab + 3, floor - high, 90, floor - 4, c.second, round_by=2)
        if c.maybe(0.5):
            c.box(14 + cab + 3, floor - high * 0.6, 90, floor - high * 0.42, c.main, edge=False)
    slant = rng.uniform(0, 7)
    front = [(12, floor - 2), (12, floor - (floor - top) * 0.5), (14 + slant, top), (14 + cab, top),
             (14 + cab, floor - 2)]
    (c.blob if c.maybe(0.4) else c.shape)(front, c.main)
    c.shape([(15.5, floor - (floor - top) * 0.5), (16.5 + slant, top + 4), (10 + cab, top + 4),
             (10 + cab, floor - (floor - top) * 0.5)], (190, 225, 245))
    c.oval(13.5, floor - 7, 1.8, 2.2, (255, 230, 130), edge=False)
    size = rng.uniform(6.5, 8.5)
    for x in (14 + cab * 0.55, 66, 82)[: rng.choice((2, 3))] if load != "bed" else (14 + cab * 0.55, 78):
        c.oval(x, floor + 2, size, size, (40, 40, 46))
        c.oval(x, floor + 2, size * 0.45, size * 0.45, (190, 195, 200), edge=False)
    return {"tank": ("tank",), "bed": ("open",)}.get(load, ())


def sign(c: Canvas) -> Words:
    """A sign on a post, with a shape on it."""
    rng = c.rng
    outline = rng.choice(("round", "square", "triangular", "diamond"))
    on = rng.choice(("arrow", "bar", "dot", "star", "wave"))
    if c.maybe(0.75):
        c.box(47.5, 40, 52.5, 95, rng.choice(((140, 144, 150), (120, 84, 56))))
    r = rng.uniform(24, 30)
    around = {"square": ring_of(50, 36, r * 1.2, 4, 0.5), "triangular": ring_of(50, 39, r * 1.2, 3, 0.0),
              "diamond": ring_of(50, 36, r * 1.1, 4, 0.0)}
    for size, colour, edge in ((1.0, c.second if c.maybe(0.6) else c.main, True), (0.8, c.main, False)):
        if outline == "round":
            c.oval(50, 36, r * size, r * size, colour, edge=edge)
        else:
            cx, cy = 50, 39 if outline == "triangular" else 36
            c.shape([(cx + (x - cx) * size, cy + (y - cy) * size) for x, y in around[outline]], colour, edge=edge)
    ink = (250, 250, 250) if sum(c.main) < 420 else (30, 30, 34)
    s = r * (0.3 if outline == "triangular" else 0.42)
    x, y = 50.0, 36.0 if outline != "triangular" else 41.0
    if on == "arrow":
        turn = rng.choice((0, 1, 2)) * math.pi / 2
        tip = [(-0.15, 1), (-0.15, 0), (-0.6, 0), (0, -1), (0.6, 0), (0.15, 0), (0.15, 1)]
        c.shape([(x + s * (u * math.cos(turn) - v * math.sin(turn)), y + s * (u * math.sin(turn) + v * math.cos(turn)))
                 for u, v in tip], ink, edge=False)
    elif on == "bar":
        c.box(x - s, y - s * 0.3, x + s, y + s * 0.3, ink, edge=False)
    elif on == "dot":
        c.oval(x, y, s * 0.7, s * 0.7, ink, edge=False)
    elif on == "star":
        c.shape([(x + s * (1 if k % 2 == 0 else 0.42) * math.sin(k * math.pi / 5),
                  y - s * (1 if k % 2 == 0 else 0.42) * math.cos(k * math.pi / 5)) for k in range(10)], ink, edge=False)
    else:
        c.stroke([(x + s * u, y + s * v) for u, v in ((-1, 0), (-0.5, -0.5), (0, 0), (0.5, 0.5), (1, 0))], ink, s * 0.3,
                 edge=False)
    return (outline,)


def ring_of(x: float, y: float, r: float, corners: int, turned: float) -> list[Point]:
    """A regular polygon around (x, y), the first corner on top, turned by a share of a corner's angle."""
    angles = [2 * math.pi * (k + turned) / corners for k in range(corners)]
    return [(x + r * math.sin(a), y - r * math.cos(a)) for a in angles]


def house(c: Canvas) -> Words:
    """A house from the front: walls, a roof, a door, windows, perhaps a chimney."""
    rng = c.rng
    half, top, floors = rng.uniform(20, 32), rng.uniform(44, 54), rng.choice((1, 1, 2))
    top -= 14 * (floors - 1)
    if c.maybe(0.5):
        x = 50 + rng.choice((-1, 1)) * half * 0.55
        c.box(x - 4, top - 22, x + 4, top, shade(c.second, -0.2))
    c.box(50 - half, top, 50 + half, 86, c.main)
    roof, rise = rng.choice(("pointed", "pointed", "flat", "round")), rng.uniform(16, 26)
    over = half + rng.uniform(3, 7)
    if roof == "pointed":
        c.shape([(50 - over, top + 1), (50, top - rise), (50 + over, top + 1)], c.second)
    elif roof == "flat":
        c.shape([(50 - over, top + 1), (50 - half * 0.7, top - rise * 0.6), (50 + half * 0.7, top - rise * 0.6),
                 (50 + over, top + 1)], c.second)
    else:
        angles = [math.pi * (1 + k / 20) for k in range(21)]
        c.shape([(50 + over * math.cos(a), top + 1 + rise * math.sin(a)) for a in angles], c.second)
    door = rng.choice((-0.4, 0.0, 0.4)) * half
    c.box(50 + door - 5, 86 - 18, 50 + door + 5, 86, shade(c.second, -0.35), round_by=rng.choice((0, 4)))
    glass = (200, 230, 248) if c.maybe(0.6) else (255, 232, 150)
    for row in range(floors):
        for x in [-0.55, 0.0, 0.55]:
            if row < floors - 1 or abs(x * half - door) > 10:
                y = top + 11 + row * 20
                c.box(50 + x * half - 4.5, y - 5, 50 + x * half + 4.5, y + 5, glass)
    return ("tall",) if floors == 2 else ()


def bird(c: Canvas) -> Words:
    """A bird from the side, looking left."""
    rng = c.rng
    body, head = rng.uniform(18, 25), rng.uniform(10, 14)
    hx, hy = 50 - body * 0.75, 50 - body * 0.75
    for x in (48, 56):
        c.stroke([(x, 50 + body * 0.6), (x - 1, 50 + body + 10), (x - 5, 50 + body + 11)], (230, 150, 50), 1.8,
                 edge=False)
    c.blob([(50 + body * 0.6, 48), (50 + body + rng.uniform(10, 18), 50 - rng.uniform(4, 16)), (50 + body + 12, 54),
            (50 + body * 0.5, 58)], shade(c.main, -0.2))
    beak = hx - head * 0.7
    c.shape([(beak, hy - 3), (hx - head - rng.uniform(6, 14), hy + rng.uniform(0, 3)), (beak, hy + 4)], (245, 165, 50))
    if c.maybe(0.4):
        c.blob([(hx - 2, hy - head * 0.7), (hx + 1, hy - head - 9), (hx + 6, hy - head - 7), (hx + 5, hy - head * 0.6)],
               c.second)
    c.oval(50, 54, body, body * 0.78, c.main, turned=0.25)
    c.oval(hx, hy, head, head, c.main)
    c.oval(50 - body * 0.05, 54, body + head * 0.1 - 3, body * 0.78 - 2.5, c.main, edge=False, turned=0.25)
    c.oval(hx + head * 0.25, hy + head * 0.3, head * 0.78, head * 0.72, c.main, edge=False)
    if c.maybe(0.6):
        c.oval(50 - body * 0.35, 54 + body * 0.2, body * 0.5, body * 0.42, shade(c.main, 0.45), edge=False)
    c.blob([(50 - body * 0.25, 48), (50 + body * 0.3, 44), (50 + body * 0.95, 54), (50 + body * 0.3, 62),
            (50 - body * 0.15, 58)], c.second)
    c.eyes(hx - head * 0.25, hy - head * 0.15, 0, rng.uniform(2.6, 4), 1)
    return ()


def cupcake(c: Canvas) -> Words:
    """A cupcake: a paper case, icing in rounds, sprinkles, something on top."""
    rng, words = c.rng, []
    lip, foot, rounds = rng.uniform(22, 28), rng.uniform(14, 20), rng.choice((1, 2, 3))
    c.shape([(50 - lip, 56), (50 + lip, 56), (50 + foot, 90), (50 - foot, 90)], c.second)
    for k in range(-2, 3):
        c.stroke([(50 + k * lip * 0.36, 58), (50 + k * foot * 0.36, 88)], shade(c.second, -0.25), 1.5, edge=False)
    y = 54.0
    for k in range(rounds):
        width = (lip + 4) * (1 - 0.27 * k)
        c.blob([(50 - width, y + 2), (50 - width * 0.8, y - 8), (50, y - 12), (50 + width * 0.8, y - 8),
                (50 + width, y + 2), (50 + width * 0.4, y + 6), (50 - width * 0.4, y + 6)], c.main)
        y -= 11
    if c.maybe(0.55):
        for _ in range(12):
            x, h = 50 + rng.uniform(-0.7, 0.7) * lip, 52 - rng.uniform(0, 9) - (11 * rng.randrange(rounds))
            if abs(x - 50) < (lip + 4) * (1 - 0.27 * (52 - h) // 11) * 0.7:
                colour = rng.choice(((255, 90, 110), (90, 170, 255), (255, 220, 80)))
                c.stroke([(x, h), (x + rng.uniform(-2, 2), h + 2)], colour, 1.6, edge=False)
        words.append("sprinkled")
    if c.maybe(0.6):
        c.oval(50, y - 1, 5.5, 5.5, (214, 40, 60))
        c.stroke([(50, y - 6), (53, y - 13)], (90, 130, 60), 1.4, edge=False)
    return tuple(words)


def robot(c: Canvas) -> Words:
    """A robot: a head with eyes and antennae on a body with arms and legs."""
    rng = c.rng
    head, high, body = rng.uniform(13, 20), rng.uniform(11, 16), rng.uniform(15, 22)
    corner, neck = rng.choice((0, 3, 8)), 44.0
    for side in (-1, 1):
        x = 50 + side * body * 0.5
        c.box(x - 4, 74, x + 4, 90, shade(c.main, -0.3))
        c.box(x - 6, 87, x + 6, 93, c.second, round_by=2)
        lift = rng.choice((-16, 8, 14))
        c.stroke([(50 + side * body, 54), (50 + side * (body + 8), 56 + lift * 0.3),
                  (50 + side * (body + 10), 58 + lift)], shade(c.main, -0.2), 4.5)
        c.oval(50 + side * (body + 10), 58 + lift, 4.2, 4.2, c.second)
    top = neck - 2 * high
    for x in ((50,), (50 - head * 0.5, 50 + head * 0.5), ())[rng.randrange(3)]:
        c.stroke([(x, top + 3), (x, top - 7)], shade(c.main, -0.3), 1.8)
        c.oval(x, top - 8, 3, 3, c.second)
    c.box(46, neck - 3, 54, 50, shade(c.main, -0.35))
    c.box(50 - body, 47, 50 + body, 77, c.main, round_by=corner)
    c.box(50 - head, top, 50 + head, neck, c.main, round_by=corner)
    panel = rng.choice(("buttons", "screen", "dial"))
    if panel == "buttons":
        for k in range(3):
            c.oval(50 + (k - 1) * 8, 62, 2.6, 2.6, ((220, 60, 60), (250, 205, 70), (80, 180, 90))[k], edge=False)
    elif panel == "screen":
        c.box(50 - body * 0.6, 54, 50 + body * 0.6, 68, c.second, round_by=2)
    else:
        c.oval(50, 62, 7, 7, (245, 245, 240))
        c.stroke([(50, 62), (54, 58)], (200, 50, 50), 1.5, edge=False)
    if c.maybe(0.3):
        c.box(50 - head * 0.75, top + high * 0.5, 50 + head * 0.75, top + high * 1.15, (40, 50, 60), round_by=3)
        c.stroke([(50 - head * 0.4, top + high * 0.82), (50 + head * 0.4, top + high * 0.82)], (90, 230, 240), 3,
                 edge=False)
    else:
        c.eyes(50, top + high * 0.8, head, rng.uniform(3.5, 5))
    c.box(50 - head * 0.5, neck - high * 0.55, 50 + head * 0.5, neck - high * 0.3, (245, 245, 240), round_by=1)
    return ()


def mug(c: Canvas) -> Words:
    """A mug with a handle, perhaps with a pattern, steam or a face."""
    rng, words = c.rng, []
    top, bottom, half, foot = rng.uniform(30, 38), 82.0, rng.uniform(18, 25), rng.uniform(0.75, 1.0)
    left, side = 46 - half, 46 + half
    size = rng.uniform(9, 14)
    c.stroke([(side - 3, top + 10), (side + size, top + 11), (side + size, top + 27), (side - 3, top + 32)], c.main,
             rng.uniform(4, 6))
    if c.maybe(0.4):
        for k in (-1, 0, 1):
            x = 46 + k * half * 0.5
            c.stroke([(x, top - 6), (x + 3, top - 11), (x - 2, top - 16), (x + 2, top - 21)], (225, 228, 232), 2.2,
                     edge=False)
    low = half * foot
    c.shape([(left, top), (side, top), (46 + low, bottom), (46 - low, bottom)], c.main)
    c.oval(46, bottom, low, 4.5, c.main)
    c.box(46 - low + 1.5, bottom - 6, 46 + low - 1.5, bottom, c.main, edge=False)
    marks = rng.choice(("striped", "spotted", "heart", "face", "", ""))
    if marks == "striped":
        for y in (top + 14, top + 24, top + 34)[: rng.choice((1, 2, 3))]:
            inner = half - (half - low) * (y + 2 - top) / (bottom - top) - 1.4
            c.box(46 - inner, y, 46 + inner, y + 5, c.second, edge=False)
    elif marks == "spotted":
        spots(c, [(46 + half * x, y) for y in (top + 15, top + 30) for x in (-0.5, 0, 0.5)], 3)
    elif marks == "heart":
        y = top + 20
        half_heart = [(36, y + 1), (37, y - 6), (43, y - 7)]
        c.blob([(46, y + 11), *half_heart, (46, y - 3), *((92 - x, v) for x, v in reversed(half_heart))], c.second,
               edge=False)
    elif marks == "face":
        c.eyes(46, top + 18, half * 0.8, 3.4)
        c.mouth(46, top + 29, half * 0.6)
    words += [marks] if marks in ("striped", "spotted") else []
    c.oval(46, top, half, 6, c.main)
    c.oval(46, top, half - 3, 4, rng.choice(((92, 58, 36), (60, 36, 24), (170, 110, 60))), edge=False)
    return tuple(words)


FAMILIES: dict[str, Callable[[Canvas], Words]] = {
    "monster": creature, "fish": fish, "potted plant": plant, "truck": truck, "sign": sign, "house": house,
    "bird": bird, "cupcake": cupcake, "robot": robot, "mug": mug,
}
SYNONYMS: dict[str, Words] = {  # what a member is called besides; not always
    "monster": ("creature", "cute monster"), "potted plant": ("plant", "house plant"), "truck": ("lorry",),
    "sign": ("road sign",), "house": ("home", "cottage"), "cupcake": ("muffin",), "fish": (), "bird": (), "robot": (),
    "mug": ("cup",),
}


@functools.lru_cache(maxsize=32)
def member(family: str, number: int) -> tuple[Image.Image, str, Words, str]:
    """A member of a family: (RGBA square, name of its main colour, what distinguishes it, how it is drawn: flat,
    outlined or soft). The same at every call."""
    canvas = Canvas(random.Random(f"{family} {number}"))
    words = FAMILIES[family](canvas)
    return canvas.finished(), canvas.colour_name, words, canvas.manner
