"""Did you mean …? The nearest known name to a misspelt one."""

from collections.abc import Collection
from difflib import get_close_matches

#: Names beyond this are not compared: comparing is quadratic, and nobody misspells a page of text.
_LONGEST_NAME = 100
_LISTED = 12


def nearest(word: str, known: Collection[str], *, cutoff: float = 0.6) -> str | None:
    """The known name most like `word`, whatever the case; None when none comes near. `cutoff`: 0 anything, 1 equal."""
    if len(word) > _LONGEST_NAME:
        return None
    by_folded = {name.casefold(): name for name in sorted(known, reverse=True)}
    found = get_close_matches(word.casefold(), by_folded, n=1, cutoff=cutoff)
    return by_folded[found[0]] if found else None


def did_you_mean(word: str, known: Collection[str]) -> str:
    """A hint: the nearest name, else the names there are, in their own order."""
    guess = nearest(word, known)
    if guess is not None:
        return f"Did you mean {guess}?"
    if not known:
        return "There are none to choose from."
    names = list(known)
    rest = "" if len(names) <= _LISTED else f" and {len(names) - _LISTED} more"
    return f"There is: {', '.join(names[:_LISTED])}{rest}."
