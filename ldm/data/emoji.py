"""The words of the emoji world, English and Korean: colours, numbers, sizes, articles and plurals."""

# name -> (RGB, Korean adjective)
COLOURS = {
    "red": ((214, 48, 49), "빨간"),
    "orange": ((240, 140, 40), "주황색"),
    "yellow": ((250, 215, 60), "노란"),
    "green": ((60, 160, 75), "초록색"),
    "blue": ((50, 100, 215), "파란"),
    "purple": ((130, 70, 175), "보라색"),
    "pink": ((250, 165, 195), "분홍색"),
    "brown": ((125, 80, 50), "갈색"),
    "black": ((22, 22, 24), "검은"),
    "white": ((248, 248, 248), "하얀"),
    "gray": ((135, 138, 142), "회색"),
    "turquoise": ((65, 200, 195), "청록색"),
}

COUNTS = {1: ("a", ""), 2: ("two", " 두 개"), 3: ("three", " 세 개"), 4: ("four", " 네 개")}
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")  # behind which nouns are plural
SIZES = {"small": (0.34, 0.46, "작은"), "": (0.62, 0.82, ""), "big": (0.88, 1.00, "큰")}


def with_article(noun: str) -> str:
    """A noun behind its indefinite article: "apple" -> "an apple"."""
    return ("an " if noun[0].lower() in "aeiou" else "a ") + noun


def plural(noun: str) -> str:
    """The regular plural of a noun: "cherry" -> "cherries"."""
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    return noun[:-1] + "ies" if noun.endswith("y") and noun[-2] not in "aeiou" else noun + "s"
