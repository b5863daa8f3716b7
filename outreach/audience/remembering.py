"""Under which digest an identifier is remembered: the one that stands already, under whatever pepper; else the current one.

With a single pepper there is only one, and the database is not asked.
"""

from collections.abc import Sequence

from outreach.models import keys
from outreach.models.base import Tx
from outreach.peppers import Peppers

#: kind, value
Spelt = tuple[str, str]


def digest_of(tx: Tx, peppers: Peppers, kind: str, value: str) -> str:
    """Of one identifier, to be written or looked for in this very transaction."""
    return digests_of(tx, peppers, [(kind, value)])[0]


def digests_of(tx: Tx, peppers: Peppers, identifiers: Sequence[Spelt]) -> list[str]:
    """The same for many, in their order."""
    if len(peppers.ids) == 1 or not identifiers:
        return [peppers.digest(kind, value) for kind, value in identifiers]
    each = [peppers.digests(kind, value) for kind, value in identifiers]
    stored = keys.stored_among(tx, [digest for digests in each for digest in digests])
    return [next((digest for digest in digests if digest in stored), digests[0]) for digests in each]
