"""Korean as people type it."""

from __future__ import annotations

import random
import unicodedata
from dataclasses import replace
from typing import Any

from improvement.v2.sentences import ends_in_consonant
from pretrain.languages import CLOSE, OPEN, Chatter, Meaning, Noun, Thing, keep_back, maybe, vocabulary, weighted, words

V = vocabulary("ko")
NOUNS = V["nouns"]
COLOURS: dict[str, Any] = dict(V["colours"])
STRANGE_COLOURS = words(V["strange_colours"])
COLOURS["odd"] = tuple(", ".join(f"{OPEN}{word}{CLOSE}{ending}" for word in STRANGE_COLOURS) for ending in ("", "",
    "으로"))
SIZES = V["sizes"]
FILLERS = words(V["fillers"])
COUNTERS = V["counters"]
COUNTERS_OF = V["counters_of"]
NATIVE = V["native"]
ALONE = V["alone"]
SINO = V["sino"]
FRAMES = V["frames"]
GROUNDS = tuple(V["grounds"].items())
SKIES = V["skies"]
STEMS = words(V["stems"])
ENDINGS = words(V["endings"])
DESIRES = words(V["desires"])
CHANGES = words(V["changes"])
ENDS = words(V["ends"])
BEFORE = words(V["before"])
AFTER = words(V["after"])
COPULAS = V["copulas"]
NOT = V["not"]
SOUNDS = words(V["sounds"])
TALK = words(V["talk"])
CHATTER = Chatter(V)
LIKES = words(V["likes"])
STRANGE = words(V["strange"])


def particle(word: str, closed: str, opened: str) -> str:
    """The form of a particle that a word takes; a learned word's sign takes either."""
    last = word.rstrip(CLOSE + " ")[-1:]
    if last in "*&":
        return closed if len(word) % 2 else opened
    if last.isdigit():
        return closed if last in "013678" else opened
    return closed if last and ends_in_consonant(last) else opened


def colour(rng: random.Random, name: str) -> str:
    """A colour before a noun: 빨간, 빨강, 빨간색의 ..."""
    adjectives, nouns, _ = COLOURS[name]
    if rng.random() < 0.6:
        return rng.choice(words(adjectives))
    return rng.choice(words(nouns)) + maybe(rng, 0.12, "의")


def counter(rng: random.Random, thing: Thing) -> str:
    """What a thing is counted in."""
    own = COUNTERS_OF.get(thing.name) or COUNTERS.get(thing.kind, "개")
    if not thing.name or thing.name in "*&":
        own = rng.choice(("개", "개", "개", "마리", "대", "명"))
    return "개" if rng.random() < 0.15 else rng.choice(words(own))


def noun_phrase(rng: random.Random, thing: Thing, noun: Noun, late: bool = True) -> tuple[str, str]:
    """(phrase, what is said of it as an adverb later: 크게, 빨간색으로)."""
    unit = counter(rng, thing)
    counted = thing.number > 1 or rng.random() < 0.35
    before, adverb = [], ""
    if thing.size:
        if late and rng.random() < 0.3:
            adverb = rng.choice(words(SIZES[thing.size][1]))
        else:
            before.append(rng.choice(words(SIZES[thing.size][0])))
    if thing.tint:
        if late and not adverb and rng.random() < 0.25:
            other_tint = rng.choice([c for c in COLOURS if c not in (thing.tint, "odd")])
            adverb = maybe(rng, 0.12, f"{rng.choice(words(COLOURS[other_tint][1]))} 말고 ")
            adverb += rng.choice(words(COLOURS[thing.tint][2]) + [f"{rng.choice(words(COLOURS[thing.tint][0]))} 걸로"])
        else:
            before.append(colour(rng, thing.tint))
    if rng.random() < 0.1:
        before.insert(rng.choice((0, len(before))), rng.choice(FILLERS))
    rng.random() < 0.2 and rng.shuffle(before)
    word = noun(thing, unit if counted else "")
    head = " ".join([*before, word])
    gap = " " if rng.random() < 0.9 else ""
    n = thing.number
    if not counted:
        return head, adverb
    style = rng.random()
    amount = f"{NATIVE[n]} {unit}" if rng.random() < 0.85 else f"{NATIVE[n]}{unit}"
    if style < 0.55:
        text = f"{head}{gap}{amount}"
    elif style < 0.70:
        text = f"{head}{gap}{n}{maybe(rng, 0.1, ' ')}{unit}"
    elif style < 0.80:
        text = f"{head}{gap}{ALONE[n]}" if n < 5 else f"{head}{gap}{amount}"
    elif style < 0.92:
        text = (f"{amount if rng.random() < 0.8 else f'{n}{unit}'}의 {head}" if n > 1 or rng.random() < 0.7
                else f"하나의 {head}")
    elif style < 0.95 and n > 1:
        text = f"{NATIVE[n]} {head}"
    elif style < 0.97:
        text = f"{head} {SINO[n]} {unit}" if n > 1 else f"{head} 1{unit}"
    else:
        text = f"{head}{gap}{amount}씩" if n > 1 else f"{head} {unit and '하나'}"
    return text + maybe(rng, 0.08, rng.choice(("만", "만", "정도", "이나", " 정도", "만큼"))), adverb


def joined(rng: random.Random, phrases: list[str]) -> str:
    """A and B."""
    text = phrases[0]
    for other in phrases[1:]:
        link = weighted(rng, ((particle(text, "과", "와"), 30), (particle(text, "이랑", "랑"), 25), ("하고", 12),
            (", ", 8),
                              (" 그리고", 6), (" 옆에", 3), ("에", 2), (" 및", 2),
                              (particle(text, "과 함께", "와 함께"), 2),
                              (particle(text, "이랑 같이", "랑 같이"), 2),
                              (particle(text, "과 함께 있는", "와 함께 있는"), 2),
                              ("하고 또", 1), (" +", 1), (" /", 1), ("랑", 2), (" 옆의", 1), ("도", 1)))
        text += link + ("" if link == ", " else " " if rng.random() < 0.95 else "") + other
    if len(phrases) > 1:
        text += maybe(rng, 0.1, rng.choice((" 같이", " 함께", " 둘 다", " 나란히")))
    return text


def ground(rng: random.Random, name: str) -> tuple[str, str]:
    """(a background before what is on it, the same as a clause of its own)."""
    tone = colour(rng, name)
    skies = words(SKIES.get(name, ""))
    place = rng.choice(skies) if skies and rng.random() < 0.06 else weighted(rng, GROUNDS)
    space = " " if rng.random() < 0.85 else ""
    scene = f"{tone}{space}{place}"
    where = weighted(rng, (
        ("에", 24), (" 위에", 10), (" 위의", 10), ("에다", 3), ("에다가", 3), ("의", 8), ("으로", 7), (" 위", 3),
        (" 위에다", 1), ("에서", 2), (" 위로", 1), (",", 8), ("", 8),
        (" 앞에", 3), (" 앞의", 2), ("에 있는", 6), (" 위에 있는", 4), ("을 가진", 2), ("이 있는", 2), (" 속", 1),
        (" 속의", 1), (" 안에", 1), ("에 놓인", 1), (" 한가운데", 1),
        (" 가운데에", 1), (" -", 1), (" /", 1), (":", 1), ("과 함께 있는", 1), ("과", 1), ("에는", 2), ("인", 1),
        ("에 그린", 1), ("이고", 1), (" 위에다가", 1), ("에 그려진", 1)))
    if particle(place, "1", "0") == "0":
        where = {"으로": "로", "을 가진": "를 가진", "과 함께 있는": "와 함께 있는", "이 있는": "가 있는", "과": "와",
            "이고": "고"}.get(where, where)
    nouns = words(COLOURS[name][1])
    tint = rng.choice(nouns)
    adverb = rng.choice(words(COLOURS[name][2]))
    clause = rng.choice((
        f"배경은 {adverb}", f"배경은 {adverb} 하고", f"배경은 {adverb} 해서", f"배경을 {adverb} 하고",
        f"배경 {adverb} 하고", f"배경은 {tint}",
        f"배경 {tint}", f"배경 {adverb} 해서", f"배경을 {adverb} 해서",
        f"배경은 {tint}{particle(tint, '이고', '고')}", f"배경 {adverb}", f"{tint} 배경으로 하고",
        f"{tone} 배경으로 해서", f"{tone} 배경이면 좋겠고", f"{tone} 배경으로",
        f"배경이 {tone if tone in words(COLOURS[name][1]) else tint}인", f"배경 {tint}에", f"뒤는 {adverb} 하고",
        f"{tone} 배경 {rng.choice(('ㅇㅇ', '해줘', '좋아', '부탁'))}", f"배경은 {tone} 걸로", f"배경색은 {tint}",
        f"배경색은 {adverb} 하고", f"배경: {tint}", f"바탕은 {adverb}",
        f"바탕은 {tint}", f"바탕을 {adverb} 하고", f"배경이 {tint}고", f"배경 색깔은 {tint}", f"배경만 {adverb}"))
    return scene + where, clause


def framed(rng: random.Random, text: str, frame: str) -> str:
    """A picture of what the text says."""
    if not frame:
        return text
    word = rng.choice(words(FRAMES[frame]))
    link = weighted(rng, (("{} {}", 60), ("{}의 {}", 22), ("{}{}", 4),
        ("{}" + particle(text, "이", "가") + " 있는 {}", 6),
                          ("{}" + particle(text, "을", "를") + " 찍은 {}" if frame == "photo" else "{} {}", 3),
                          ("{} 나오는 {}", 1),
                          ("{}" + particle(text, "이", "가") + " 나온 {}", 1),
                          ("{}" + particle(text, "을", "를") + " 그린 {}" if frame in ("picture",
                          "drawing") else "{} {}", 3)))
    return link.format(text, word) + maybe(rng, 0.15,
        rng.choice((" 하나", " 한 장", " 1장", " 하나만", " 좀", " 한장")))


def asked(rng: random.Random, text: str, adverb: str) -> str:
    """A request for what the text says."""
    draw = rng.random()
    adverb = f" {adverb}" if adverb else ""
    if draw < 0.5:
        object_ = weighted(rng, ((particle(text, "을", "를"), 35), ("", 40), (" 좀", 8), ("만", 6),
            (particle(text, "은", "는"), 3), ("도", 2), ("를", 1), (" 하나", 3), ("요", 1)))
        stem, ending = rng.choice(STEMS), rng.choice(ENDINGS)
        gap = " " if rng.random() < 0.45 else ""
        return f"{text}{object_}{adverb} {maybe(rng, 0.05, rng.choice(AFTER[24:33]) + ' ')}{stem}{gap}{ending}"
    if draw < 0.78:
        object_ = weighted(rng, (("", 60), (" 좀", 8), ("만", 8), (particle(text, "이", "가"), 12),
            (particle(text, "을", "를"), 12), (" 하나", 3), ("도", 2), (" 하나만", 2), (particle(text, "으로", "로"),
            3)))
        return f"{text}{object_}{adverb} {rng.choice(DESIRES)}"
    if draw < 0.92:
        last = unicodedata.normalize("NFD", text[-1:] or "가")[-1]
        change = "로" if last == "ᆯ" else particle(text, "으로", "로")
        return f"{text}{change}{adverb} {rng.choice(CHANGES)}"
    return text + adverb + rng.choice(COPULAS)


def afterthought(rng: random.Random, meaning: Meaning) -> tuple[Meaning, str]:
    """(a meaning of one thing without its number, size or colour, what says that behind the request); "" where it has
    none of them."""
    thing = meaning.things[0]
    last, plain = keep_back(rng, thing)
    if not last:
        return meaning, ""
    if last == "number":
        unit = counter(rng, thing)
        word = rng.choice((f"{NATIVE[thing.number]} {unit}", f"{thing.number}{unit}", ALONE[thing.number]))
        text = rng.choice(("{}", "{}요", "{}만", "{}로", "{} 부탁", "{}이요", "전부 {}", "다 해서 {}", "{}예요",
                           "{} 해줘"))
    elif last == "size":
        word = rng.choice(words(SIZES[thing.size][1]))
        text = rng.choice(("{}", "{}요", "{} 해줘", "{} 그려줘", "아주 {}", "좀 {}", "되게 {}", "진짜 {}",
                           "{} 부탁해요"))
    else:
        noun_like, word = rng.choice(words(COLOURS[thing.tint][1])), rng.choice(words(COLOURS[thing.tint][2]))
        text = rng.choice(("{}", "{}요", "{} 해줘", "{} 칠해줘", "{} 부탁", noun_like, f"{noun_like}이에요",
                           f"{noun_like}이야", f"색은 {noun_like}", "색깔은 {}", "색은 {}", f"{noun_like}인 걸로"))
    link = rng.choice((" ", " ", ", ", ". ", "... "))
    return replace(meaning, things=(plain,)), link + text.format(word)


def write(rng: random.Random, meaning: Meaning, noun: Noun, other: Noun) -> str:
    """The meaning in Korean, with noun(thing, counter) for its things and other(...) for some that are not meant."""
    request, afterwards = rng.random() < 0.55, ""
    if len(meaning.things) == 1 and rng.random() < 0.1:
        meaning, afterwards = afterthought(rng, meaning)
    phrases, adverbs = [], []
    for i, thing in enumerate(meaning.things):
        last = i == len(meaning.things) - 1
        phrase, adverb = noun_phrase(rng, thing, noun, late=last and not meaning.frame)
        if meaning.ground and rng.random() < 0.02 and last:
            phrase = f"{other(thing, '')} {rng.choice(NOT)} {phrase}"
        elif last and len(meaning.things) == 1 and rng.random() < 0.07:
            wrong = other(thing, "")
            phrase = wrong + rng.choice(("? 아 아니다", "? 아니", "... 아니다", "? 아니 아니", "? 말고", " 아니",
                "? 아니 그냥", " 말고", " 말고", " 말고", " 말고", " 말고 그냥", " 대신", " 대신에", " 아니고",
                particle(wrong, "이 아니라", "가 아니라"), " 말구", " 빼고")) + f" {phrase}"
        phrases.append(phrase)
        adverbs.append(adverb)
    text, adverb = joined(rng, phrases), adverbs[-1]
    tail = ""
    if meaning.ground:
        before, clause = ground(rng, meaning.ground)
        draw = rng.random()
        if draw < 0.58:  # 파란 배경에 고양이
            text = f"{before} {framed(rng, text, meaning.frame)}"
        elif draw < 0.70:  # 배경은 파랗게 하고 고양이
            text = f"{clause}{maybe(rng, 0.3, ',')} {framed(rng, text, meaning.frame)}"
        elif draw < 0.80:  # 고양이를 파란 배경에 ...
            scene = weighted(rng, (("에", 10), (" 위에", 6), ("에다", 2), ("에다가", 2), ("으로", 4), (" 앞에", 2),
                ("", 2), (" 위에다", 1), (" 위에다가", 1), ("에서", 1)))
            spot = f"{colour(rng, meaning.ground)} {'배경' if rng.random() < 0.8 else '바탕'}{scene}"
            link = weighted(rng, ((particle(text, "을", "를"), 30), ("", 40), ("만", 8), (particle(text, "이", "가"),
                10), (",", 8), (particle(text, "은", "는"), 6), (" 좀", 2), ("요", 2)))
            if meaning.frame:
                text = framed(rng, text, meaning.frame) + rng.choice((", ", " ")) + spot
            else:
                text = f"{text}{link} {spot}"
            if adverb:
                text, adverb = f"{text} {adverb}", ""
            if request:
                verb = f" {rng.choice(STEMS)}{maybe(rng, 0.5, ' ')}{rng.choice(ENDINGS)}"
                verb = verb if rng.random() < 0.7 else f" {rng.choice(DESIRES)}"
                text += verb if rng.random() < 0.8 else ""
                request = False
        elif draw < 0.92:  # 고양이, 파란 배경
            text = framed(rng, text, meaning.frame)
            if adverb:
                text, adverb = f"{text} {adverb}", ""
            tone = colour(rng, meaning.ground)
            place = f"{tone}{' ' if rng.random() < 0.85 else ''}{'배경' if rng.random() < 0.8 else '바탕'}"
            tail = rng.choice((f", {place}", f" {place}", f" ({place})", f" - {place}", f" / {place}",
                f" {place}으로", f", {clause}", f" {clause}", f", {place}으로", f" {place}에", f" + {place}",
                               f" {place} 부탁", f"; {place}", f" {place}으로 부탁해", f", {place}이면 좋겠어",
                               f" {place}에다가", f" {place}으로 해줘", f" {place} 위에"))
            if request:
                tail = rng.choice((tail, tail, f" {place}으로",
                    f" {place}에")) + f" {rng.choice(STEMS)}{maybe(rng, 0.5, ' ')}{rng.choice(ENDINGS)}"
                request = False
        else:  # 파란 배경에 고양이가 있어요
            subject = particle(text, "이", "가") if rng.random() < 0.85 else particle(text, "은", "는")
            inside = rng.choice(("에", "에", " 위에", " 앞에", "에는", "에서"))
            spot = f"{colour(rng, meaning.ground)} {'배경' if rng.random() < 0.85 else '바탕'}{inside}"
            end = rng.choice(ENDS)
            if not meaning.frame:
                text = rng.choice((f"{spot} {text}{subject} {end}", f"{text}{subject} {spot} {end}"))
            else:
                shown = rng.choice(("있는", "있는", "나온", "놓인", "앉아 있는"))
                text = f"{spot} {text}{subject} {shown} {rng.choice(words(FRAMES[meaning.frame]))}"
            request = request and bool(meaning.frame)
    else:
        text = framed(rng, text, meaning.frame)
        if not meaning.frame and rng.random() < 0.06:
            text = f"{text}{particle(text, '이', '가')} {rng.choice(ENDS)}"
            request = False
    if request:
        text = asked(rng, text, adverb)
    elif adverb:
        text = f"{text} {adverb}"
    text += tail
    text += afterwards
    if rng.random() < 0.13:
        text = rng.choice(BEFORE) + rng.choice((" ", " ", " ", ", ")) + text
    if rng.random() < 0.04:
        text = rng.choice((f"{rng.choice(SOUNDS)} {text}", f"{text} {rng.choice(SOUNDS)}"))
    if rng.random() < 0.16:
        text += maybe(rng, 0.7, " ") + rng.choice(AFTER)
    return text


CONFUSED = ("ㅐㅔ", "ㅗㅜ", "ㅓㅏ", "ㅑㅏ", "ㅕㅓ", "ㅛㅗ", "ㅠㅜ", "ㅚㅙ", "ㅡㅜ", "ㅣㅢ", "ㅟㅣ", "ㅒㅖ", "ㅐㅏ",
    "ㅔㅓ", "ㅓㅗ")
ONSETS = ("ᄀᄁ", "ᄀᄏ", "ᄃᄄ", "ᄃᄐ", "ᄇᄈ", "ᄇᄑ", "ᄉᄊ", "ᄌᄍ", "ᄌᄎ", "ᄂᄃ", "ᄅᄂ", "ᄆᄇ", "ᄋᄒ")
VOWELS = {unicodedata.normalize("NFKC", a): unicodedata.normalize("NFKC", b)
          for pair in CONFUSED for a, b in zip(pair, pair[::-1], strict=True)}
ONSET = {a: b for pair in ONSETS for a, b in zip(pair, pair[::-1], strict=True)}
LETTER = {chr(0x1100 + i): c for i, c in enumerate("ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ")} | {
    chr(0x1161 + i): chr(0x314F + i) for i in range(21)} | {
    chr(0x11A8 + i): c for i, c in enumerate("ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ")}  # by itself
CODAS = [chr(code) for code in range(0x11A8, 0x11C3)]


def misspelt(rng: random.Random, text: str) -> str:
    """The text with a letter wrong, missing or too many in one syllable."""
    places = [i for i, c in enumerate(text) if "가" <= c <= "힣"]
    if not places:
        return text
    i = rng.choice(places)
    onset, vowel, *coda = list(unicodedata.normalize("NFD", text[i]))
    draw = rng.random()
    if draw < 0.05:  # a syllable that falls apart: 독수ㄹㅣ
        apart = "".join(LETTER[c] for c in (onset, vowel, *coda))
        return text[:i] + apart + text[i + 1 :]
    if draw < 0.4:
        vowel = VOWELS.get(vowel, vowel)
    elif draw < 0.6:
        onset = ONSET.get(onset, onset)
    elif draw < 0.75:
        coda = [] if coda else [rng.choice(CODAS)]
    elif draw < 0.9:
        coda = [rng.choice("ᆨᆫᆯᆷᆸᆺᆼ")]
    elif draw < 0.95:
        onset = chr(rng.randrange(0x1100, 0x1113))
    else:
        vowel = chr(rng.randrange(0x1161, 0x1176))
    return text[:i] + unicodedata.normalize("NFC", onset + vowel + "".join(coda)) + text[i + 1 :]


def noisy(rng: random.Random, text: str) -> str:
    """The text with the spaces and letters that people leave out or get wrong."""
    draw = rng.random()
    if draw < 0.07:
        text = text.replace(" ", "")
    elif draw < 0.24:
        text = "".join(c for c in text if c != " " or rng.random() > 0.4)
    elif draw < 0.29:
        text = "".join(c + maybe(rng, 0.08, " ") for c in text)
    if rng.random() < 0.24:
        text = misspelt(rng, text)
        while rng.random() < 0.35:
            text = misspelt(rng, text)
    return text
