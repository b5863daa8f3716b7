"""Who may be judged in one transaction: those on whose facts none of the others bears."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from outreach.runtime.prepare import Prepared
from outreach.runtime.reading import Question


@dataclass(frozen=True, slots=True)
class Placed:
    """One that is judged together with others: how many of them, before it, count against each of its caps."""

    prepared: Prepared
    places: Mapping[str, int]

    @property
    def question(self) -> Question:
        prepared = self.prepared
        return Question(
            execution_id=prepared.execution_id,
            graph=prepared.graph,
            version_id=prepared.row["version_id"],
            scopes=prepared.scopes,
            epoch=prepared.epoch,
            body_hash=prepared.body_hash,
            places=self.places,
        )


def apart(asked: Sequence[Prepared]) -> tuple[list[Placed], list[Prepared]]:
    """Those that can be judged on what the ledger says before any of them; and the rest.

    Never two of one person (touch budgets, exclusions), nor two that keep a pace. What counts against the same cap leaves room
    for those before it.
    """
    together: list[Placed] = []
    rest: list[Prepared] = []
    taken: set[object] = set()
    places: Counter[str] = Counter()
    for prepared in asked:
        alone = {("person", prepared.row["person_id"])}
        alone |= {("pace", scope.name) for scope in prepared.scopes if scope.pace}
        if alone & taken or any(places[s.name] >= cap.limit for s in prepared.scopes for cap in s.caps):
            rest.append(prepared)
            continue
        together.append(Placed(prepared, {s.name: places[s.name] for s in prepared.scopes}))
        taken |= alone
        places.update(s.name for s in prepared.scopes)
    return together, rest
