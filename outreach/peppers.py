"""How identifiers are remembered once their words are gone: keyed digests under a ring of peppers. Pure.

A digest begins with the id of its pepper, so each stored one says what it is bound to. What is new is written under the first
pepper; an identifier is looked for under every one of them.
"""

from dataclasses import dataclass

from outreach.errors import ConfigurationError
from outreach.ids import keyed_digest
from outreach.vault import ring_of

#: Hexadecimal characters of a pepper's id: the head of every digest under it.
ID_CHARACTERS = 8


@dataclass(frozen=True, slots=True)
class Peppers:
    """A ring of peppers. Make it with `Peppers.of`."""

    #: id and secret, the current one first
    _ring: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, text: str) -> "Peppers":
        """`text`: peppers with commas or line ends between them, the current one first. Raises ConfigurationError."""
        words = ring_of(text)
        if not words:
            raise ConfigurationError(
                "OUTREACH_PEPPER holds no pepper", hint="any long random text will do; keep it safe"
            )
        return cls(tuple((keyed_digest(word, "outreach pepper id")[:ID_CHARACTERS], word) for word in words))

    def __repr__(self) -> str:
        return f"Peppers({', '.join(self.ids)})"

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the ring's peppers, the current one first."""
        return tuple(id_ for id_, _ in self._ring)

    @property
    def current(self) -> str:
        """The id of the pepper under which identifiers are remembered now."""
        return self._ring[0][0]

    def digest(self, kind: str, value: str) -> str:
        """The identifier's digest under the current pepper: hexadecimal, the pepper's id first."""
        id_, pepper = self._ring[0]
        return id_ + keyed_digest(pepper, kind, value)

    def digests(self, kind: str, value: str) -> list[str]:
        """Every digest under which it may be remembered, the current pepper's first."""
        return [id_ + keyed_digest(pepper, kind, value) for id_, pepper in self._ring]
