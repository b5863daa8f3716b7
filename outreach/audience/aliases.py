"""PURE: the name under which a person is shown on screen: two words and a number, stable, the same everywhere.

`amber-otter-412` stands for one person's number and back, so an alias can be typed wherever a person is asked for, and
a screenshot of a reply gives nobody's handle away.
"""

import re

_ADJECTIVES = (  # noqa: SIM905  a list of 64 lines reads no better
    "amber ample azure bold brave bright brisk calm candid civil clear clever coral cosy crisp curious deft eager early "
    "earnest fair fond frank gentle glad golden good grand green happy hardy honest humble jolly keen kind lively lucid "
    "lucky mellow merry mild modest neat noble olive open patient plain polite prime proud quick quiet rosy royal ruby "
    "sage sincere sleek smooth snug solid sound"
).split()
_ANIMALS = (  # noqa: SIM905
    "alpaca badger bear beaver bison bittern bunting camel cat crane cricket curlew dormouse dove duck eagle egret elk "
    "falcon finch fox gazelle gecko grouse hare heron horse ibex jackdaw jay kestrel koala lark lemur linnet llama lynx "
    "magpie marten mole moose newt okapi oriole osprey otter owl panda pigeon plover pony puffin quail rabbit raven robin "
    "seal stork swan swift tapir thrush turtle wren"
).split()
_NUMBERS = 1000
_CYCLE = len(_ADJECTIVES) * len(_ANIMALS) * _NUMBERS
#: Odd and not divisible by 5: no common factor with the cycle, so neighbours get unlike aliases and none collide.
_STRIDE = 2_654_433
_BACK = pow(_STRIDE, -1, _CYCLE)


def alias(person_id: int) -> str:
    """The person's alias. Beyond the first four million persons the number grows by a digit."""
    rounds, place = divmod(person_id, _CYCLE)
    words, number = divmod(place * _STRIDE % _CYCLE, _NUMBERS)
    adjective, animal = divmod(words, len(_ANIMALS))
    return f"{_ADJECTIVES[adjective]}-{_ANIMALS[animal]}-{rounds * _NUMBERS + number:03d}"


def person_id_of(text: str) -> int | None:
    """The number of the person whose alias this is; None: no alias."""
    parts = re.fullmatch(r"([a-z]+)[- ]([a-z]+)[- ]([0-9]{3,9})", text.strip().lower())
    if not parts or parts[1] not in _ADJECTIVES or parts[2] not in _ANIMALS:
        return None
    rounds, number = divmod(int(parts[3]), _NUMBERS)
    words = _ADJECTIVES.index(parts[1]) * len(_ANIMALS) + _ANIMALS.index(parts[2])
    return rounds * _CYCLE + (words * _NUMBERS + number) * _BACK % _CYCLE
