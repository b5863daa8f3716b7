"""WHO on the command line: exactly one human, and errors that repeat nothing of what was typed about them."""

from outreach.audience.aliases import alias
from outreach.audience.identifiers import Identifier, recognise
from outreach.audience.people import find_person as matching
from outreach.audience.people import nearest_person
from outreach.errors import NotFound, UsageError
from outreach.models.base import Database

#: So many candidates are named; a larger number means that the word says too little.
_NAMED = 8


def find_person(db: Database, who: str) -> int:
    """The one person meant. Raises NotFound, or UsageError with the candidates by number and alias."""
    found = matching(db, who)
    if not found:
        guess = nearest_person(db, who)
        meant = f"Did you mean {guess} ({alias(guess)})? " if guess is not None else ""
        raise NotFound(
            "nobody is known by that",
            hint=f"{meant}WHO is an id, an alias, @handle, URL, email, address or part of a name",
        )
    if len(found) > 1:
        listed = ", ".join(f"{match.person_id} ({match.alias})" for match in found[:_NAMED])
        more = " and more" if len(found) > _NAMED else ""
        raise UsageError("that may be several people", hint=f"say which by id: {listed}{more}")
    return found[0].person_id


def identifier_of(who: str) -> Identifier | None:
    """The identifier that WHO spells, if it spells one."""
    found = recognise(who)
    return found if isinstance(found, Identifier) else None
