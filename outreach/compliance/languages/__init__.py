"""What people say, one TOML file per language: data for optout. A new language is a new file, and rows of its own in the corpus.

Texts are compared folded, so write naturally: case, accents and apostrophes do not count. Plain lists hold whole words;
the lists of regular expressions are `phrases`, `hints`, `instructions`, `complaints`, `negative`, `positive`, `out_of_office` and
`bounce`. A language may define `[slots]`, which stand in its phrases as %name%.
"""

import re
import tomllib
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """One file. Every list may be empty."""

    code: str
    #: an opt-out alone, and noticed inside a longer text
    words: tuple[str, ...] = ()
    #: an opt-out only when nothing else is said: in a sentence these are everyday words
    alone: tuple[str, ...] = ()
    #: say whom or what to stop; each needs its object, a bare verb belongs to `alone`
    phrases: tuple[str, ...] = ()
    #: smell of an opt-out anywhere in a text: a human looks
    hints: tuple[str, ...] = ()
    #: sentences that tell how to opt out (our footer quoted back, another sender's): nobody's act
    instructions: tuple[str, ...] = ()
    #: words that say nothing by themselves; taken out before anything is compared
    courtesy: tuple[str, ...] = ()
    greetings: tuple[str, ...] = ()
    #: what adds nothing at the head of a clause: conjunctions, "I am asking you to"
    leading: tuple[str, ...] = ()
    #: "and" between two clauses
    joining: tuple[str, ...] = ()
    #: what narrows an opt-out: somebody who says this wants something to go on
    contrast: tuple[str, ...] = ()
    #: what goes with an opt-out and takes nothing from it
    complaints: tuple[str, ...] = ()
    #: a refusal as a whole clause, and anywhere in one
    no: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    #: an agreement as a whole clause, and anywhere in one
    yes: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()
    #: acknowledges and says nothing more
    thanks: tuple[str, ...] = ()
    out_of_office: tuple[str, ...] = ()
    bounce: tuple[str, ...] = ()


def load_languages() -> tuple[Language, ...]:
    """Every shipped language, by code. A key that Language does not know is a TypeError."""
    files = sorted(resources.files(__name__).iterdir(), key=lambda file: file.name)
    return tuple(
        _parse(file.name.removesuffix(".toml"), file.read_text(encoding="utf-8"))
        for file in files
        if file.name.endswith(".toml")
    )


def _parse(code: str, text: str) -> Language:
    lists = tomllib.loads(text)
    slots: dict[str, str] = lists.pop("slots", {})
    filled = [re.sub(r"%(\w+)%", lambda slot: slots[slot[1]], phrase) for phrase in lists.pop("phrases", [])]
    return Language(code=code, phrases=tuple(filled), **{key: tuple(values) for key, values in lists.items()})
