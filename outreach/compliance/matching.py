"""PURE: the shipped languages, folded and compiled once. All of them apply to every text: people mix languages."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from operator import attrgetter

from outreach.compliance.languages import Language, load_languages
from outreach.compliance.quoting import fold

#: Scripts that put no spaces between words: kana, Han and Hangul.
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_NEVER = r"(?!)"


@dataclass(frozen=True, slots=True)
class Patterns:
    """Regular expressions of all languages."""

    each: tuple[re.Pattern[str], ...]

    def found(self, text: str) -> str | None:
        """The words of the first one that stands in the text."""
        return next((match[0] for pattern in self.each if (match := pattern.search(text))), None)

    def whole(self, text: str) -> bool:
        """Is the text one of them, from end to end?"""
        return any(pattern.fullmatch(text) for pattern in self.each)


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """Everything a text is compared with; the names are those of Language."""

    words: frozenset[str]
    #: `words` and `alone`
    stops: frozenset[str]
    phrases: Patterns
    hints: Patterns
    contained: re.Pattern[str]
    instructions: Patterns
    courtesy: re.Pattern[str]
    greeting: re.Pattern[str]
    leading: re.Pattern[str]
    joining: re.Pattern[str]
    contrast: re.Pattern[str]
    complaints: Patterns
    no: frozenset[str]
    negative: Patterns
    yes: frozenset[str]
    positive: Patterns
    thanks: frozenset[str]
    out_of_office: Patterns
    bounce: Patterns

    @classmethod
    def of(cls, languages: Iterable[Language]) -> "Matcher":
        """Compile them."""
        every = _Every(tuple(languages))
        words = every.set_of("words")
        return cls(
            words=words,
            stops=words | every.set_of("alone"),
            phrases=every.patterns_of("phrases", edged=True),
            hints=every.patterns_of("hints"),
            contained=re.compile(_anywhere(words)),
            instructions=every.patterns_of("instructions"),
            courtesy=re.compile(_anywhere(every.set_of("courtesy"))),
            greeting=re.compile(rf"(?:{_either(every.set_of('greetings'))})(?:\s+\S+){{0,2}}"),
            leading=re.compile(rf"^(?:(?:{_either(every.set_of('leading'))})\s+)+"),
            joining=re.compile(rf"\s(?:{_either(every.set_of('joining'))})\s"),
            contrast=re.compile(_anywhere(every.set_of("contrast"))),
            complaints=every.patterns_of("complaints"),
            no=every.set_of("no"),
            negative=every.patterns_of("negative"),
            yes=every.set_of("yes"),
            positive=every.patterns_of("positive"),
            thanks=every.set_of("thanks"),
            out_of_office=every.patterns_of("out_of_office"),
            bounce=every.patterns_of("bounce"),
        )


@cache
def shipped() -> Matcher:
    """The shipped languages, compiled at the first text (about a tenth of a second)."""
    return Matcher.of(load_languages())


@dataclass(frozen=True, slots=True)
class _Every:
    """The lists of all languages, by name, folded."""

    languages: tuple[Language, ...]

    def set_of(self, name: str) -> frozenset[str]:
        return frozenset(fold(text) for language in self.languages for text in attrgetter(name)(language))

    def patterns_of(self, name: str, *, edged: bool = False) -> Patterns:
        sources = (fold(text) for language in self.languages for text in attrgetter(name)(language))
        return Patterns(tuple(re.compile(_edged(source) if edged else source) for source in sources))


def _edged(source: str) -> str:
    """The pattern from word's edge to word's edge, where the script has words."""
    return source if _UNSPACED.search(source) else rf"(?<!\w)(?:{source})(?!\w)"


def _either(words: Iterable[str]) -> str:
    """Any of the words, the longest that fits."""
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)) or _NEVER


def _anywhere(words: frozenset[str]) -> str:
    """Any of the words as a word; where the script has no word ends, anywhere."""
    unspaced = {word for word in words if _UNSPACED.search(word)}
    return rf"(?<![\w-])(?:{_either(words - unspaced)})(?![\w-])|{_either(unspaced)}"
