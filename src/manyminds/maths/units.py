"""Units in answers: which words are one, which ways to write it are the same, and which words change a number."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ALIASES = {
    "%": "percent pct percents percentage",
    "deg": "degree degrees",
    "rad": "radian radians",
    "$": "dollar dollars usd",
    "€": "euro euros eur",
    "£": "pound-sterling gbp",
    "cent": "cents",
    "mm": "millimeter millimeters millimetre millimetres",
    "cm": "centimeter centimeters centimetre centimetres",
    "m": "meter meters metre metres",
    "km": "kilometer kilometers kilometre kilometres kms",
    "in": "inch inches",
    "ft": "foot feet",
    "yd": "yard yards",
    "mi": "mile miles",
    "mg": "milligram milligrams",
    "g": "gram grams",
    "kg": "kilogram kilograms kgs",
    "lb": "pound pounds lbs",
    "oz": "ounce ounces",
    "ml": "milliliter milliliters millilitre millilitres",
    "l": "liter liters litre litres",
    "gal": "gallon gallons",
    "s": "sec secs second seconds",
    "min": "mins minute minutes",
    "h": "hr hrs hour hours",
    "day": "days",
    "week": "weeks",
    "month": "months",
    "year": "years yr yrs",
    "mph": "",
    "kmh": "kph",
    "unit": "units",
    "point": "points pts",
    "people": "persons person",
    "am": "a.m a.m.",
    "pm": "p.m p.m.",
}
SAME = {other: unit for unit, others in ALIASES.items() for other in (unit, *others.split())}
SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
"""Words after a number that multiply it."""
WORDS = frozenset(word for word in (*SAME, *SCALES, "yes", "no", "true", "sq", "the", "not", "per") if len(word) > 1)
"""Short runs of letters that are words and not symbols side by side."""
MEANING = _words(
    "not no none never nor without except than more less fewer most least over under above below between about around "
    "plus minus times divided squared cubed factorial root power half halves third thirds quarter quarters fourth "
    "fifth tenth tenths hundredth hundredths thousandth thousandths negative positive infinity infinite undefined mod "
    "modulo base if when where otherwise unless is are was equals equal to from of in by with for but maybe perhaps "
    "possibly either both neither pi double twice triple remainder ratio answer wrong correct incorrect false true "
    "approximately roughly real imaginary i"
)
"""Words that make another answer of a number, so that they are no unit."""


def unit_of(words: list[str]) -> str:
    """One spelling of a unit given as words and signs: `square centimeters` and `cm ^ 2` are `cm^2`.

    Raises ValueError for what is no unit.
    """
    found: list[str] = []
    squared = ""
    for word in words:
        bare = word.casefold().strip(".,")
        if bare in ("squared", "cubed") and found:
            found.append("^2" if bare == "squared" else "^3")
        elif bare in ("square", "sq", "cubic"):
            squared = "^3" if bare == "cubic" else "^2"
        elif bare in SAME:
            found.append(SAME[bare] + squared)
            squared = ""
        elif bare in ("^", "/", "2", "3", "-"):
            found.append(bare)
        elif bare == "per":
            found.append("/")
        elif bare in MEANING or bare in SCALES or not bare.replace("-", "").replace("'", "").isalpha():
            raise ValueError(f"{word!r} is no unit")
        else:
            found.append(bare)
    if len(found) > 6:
        raise ValueError("too many words for a unit")
    return _singular("".join(found) + squared)


def _singular(unit: str) -> str:
    return unit[:-1] if len(unit) > 3 and unit.endswith("s") and unit.isalpha() else unit
