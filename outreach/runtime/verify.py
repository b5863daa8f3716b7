"""verify: recompute every seal from the events as they stand, and say what was changed, deleted, added, moved or cut off.

It believes nothing that it can recompute, writes nothing, and reads in short transactions: a long one would hold the sealer up.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from outreach.models import sealing, verifying
from outreach.models.base import Row, Tx
from outreach.models.sealing import Generation, Seal
from outreach.runtime.chain import (
    BEGINNING,
    LEAF_BYTES,
    Difference,
    Leaf,
    Wrong,
    differences,
    head_of,
    read_leaves,
    root_of,
)
from outreach.runtime.verified import Archive, Noted, Reader, Verified

_PAGE = 500
_LEADS = 2000
#: Of one kind of finding, as many are named one by one.
_NAMED = 50


def verify(
    db: Reader,
    *,
    heads: Sequence[Noted] = (),
    since: datetime | None = None,
    archives: Mapping[str, Archive] | None = None,
) -> Verified:
    """The whole log. `since`: of seals made before, only the chain. `archives`: by month, as in 2026-01."""
    found = Verified()
    generations = db.run(sealing.generations)
    exports = {f"{row['month']:%Y-%m}": row for row in db.run(sealing.exports)}
    check = _Check(db, found, {g.id: g for g in generations}, exports, archives or {})
    chain = _Chain(found, check.generations)
    wanted = {noted.seal: noted.head for noted in heads if noted.seal is not None}
    anywhere = {noted.head for noted in heads if noted.seal is None}
    for seal in _seals(db):
        chain.follow(seal)
        _compare_head(found, seal, wanted, anywhere)
        if since is None or seal.at >= since:
            check.seal(seal)
    _missing_heads(found, wanted, anywhere)
    check.exports(complete=since is None)
    check.outside(generations)
    check.leads()
    return found


def _seals(db: Reader) -> Iterator[Seal]:
    after = 0
    while page := db.run(partial(sealing.seals, after=after, limit=_PAGE)):
        yield from page
        after = page[-1].id


# --- the chain ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Chain:
    """The seals one after the other: numbers, ranges and heads follow each other."""

    found: Verified
    generations: Mapping[int, Generation]

    def follow(self, seal: Seal) -> None:
        found, last = self.found, self.found.last
        found.seals, found.last = found.seals + 1, seal
        number = last.id + 1 if last else 1
        if seal.id != number:
            missing = f"seal {number} is" if seal.id == number + 1 else f"seals {number} to {seal.id - 1} are"
            found.add("seal", f"{missing} missing", seal=seal.id)
        elif seal.previous != (last.head if last else BEGINNING):
            found.add("seal", "it is not chained to the seal before", seal=seal.id)
        if last and not self._goes_on(last, seal):
            found.add("seal", "its range does not begin where the one before ended", seal=seal.id)
        generation = self.generations.get(seal.generation)
        if generation is None or seal.head != head_of(seal, generation):
            found.add(
                "seal",
                "its head is not the digest of what it says: the seal, or its generation, was edited",
                seal=seal.id,
            )

    def _goes_on(self, last: Seal, seal: Seal) -> bool:
        if seal.generation == last.generation:
            return seal.from_tx == last.to_tx
        return seal.generation > last.generation and seal.from_tx == 0


def _compare_head(found: Verified, seal: Seal, wanted: dict[int, bytes], anywhere: set[bytes]) -> None:
    noted = wanted.pop(seal.id, None)
    if noted is not None and noted != seal.head:
        found.add(
            "cut_off",
            "its head is not the one that was noted: it, or a seal before it, was made anew",
            seal=seal.id,
        )
    found.heads += noted == seal.head
    if seal.head in anywhere:
        anywhere.discard(seal.head)
        found.heads += 1


def _missing_heads(found: Verified, wanted: Mapping[int, bytes], anywhere: Iterable[bytes]) -> None:
    newest = found.last.id if found.last else 0
    if wanted:
        found.add(
            "cut_off",
            f"seal {max(wanted)} was noted, and the last one here is {newest}: the end of the log was cut off, events and seals",
            seal=min(wanted),
        )
    for head in anywhere:
        found.add(
            "cut_off",
            f"the noted head {head.hex()[:16]}... is of no seal here: seals were cut off, or made anew; the last is {newest}",
        )


# --- events ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Check:
    """What the seals, the exports and the leads say of the events."""

    db: Reader
    found: Verified
    generations: Mapping[int, Generation]
    months: Mapping[str, Row]
    archives: Mapping[str, Archive]
    #: by month, which of its file's events were looked for
    _checked: Counter[str] = field(default_factory=Counter)

    def seal(self, seal: Seal) -> None:
        """Every event of its range as it stands, against what was sealed."""
        generation = self.generations.get(seal.generation)
        if generation is None:
            return

        def work(tx: Tx) -> tuple[bytes, bytes]:
            now = sealing.leaves(tx, generation, from_tx=seal.from_tx, to_tx=seal.to_tx)
            return sealing.kept_leaves(tx, seal.id), now

        kept, now = self.db.run(work)
        self.found.events += seal.events
        if len(kept) != seal.events * LEAF_BYTES or root_of(kept) != seal.root:
            self.found.add("seal", "its leaves do not make its root: the seal was edited", seal=seal.id)
        if kept != now:
            self._report(seal, differences(kept, now))

    def _report(self, seal: Seal, wrong: Sequence[Difference]) -> None:
        left = [d for d in wrong if not self._has_left(d)]
        stand = self.db.run(lambda tx: verifying.places(tx, [d.event_id for d in left[:_NAMED]]))
        for one in left[:_NAMED]:
            row = stand.get(one.event_id)
            what, detail = _in_words(one, row)
            self.found.add(
                what, detail, seal=seal.id, lead=row["lead_id"] if row else None, event=one.event_id
            )
        if len(left) > _NAMED:
            kinds = Counter(one.wrong.value for one in left[_NAMED:])
            self.found.add(
                left[_NAMED].wrong,
                "and more: " + ", ".join(f"{n} {kind}" for kind, n in kinds.items()),
                seal=seal.id,
            )

    def _has_left(self, one: Difference) -> bool:
        """Is it gone because its month was exported? Its file, where there is one, must have it as it was sealed."""
        if one.wrong is not Wrong.DELETED or one.was is None or one.was.month not in self.months:
            return False
        self.found.exported[one.was.month] += 1
        archive = self.archives.get(one.was.month)
        if archive is not None:
            self._compare_with_file(one.was, archive)
        return True

    def _compare_with_file(self, was: Leaf, archive: Archive) -> None:
        there = archive.leaves.get(was.id)
        self._checked[was.month] += there is not None
        if there is None:
            self.found.add("deleted", f"it is not in {archive.name}", event=was.id)
        elif next(read_leaves(there)) != was:
            self.found.add(
                "changed", f"it stands in {archive.name} otherwise than it was sealed", event=was.id
            )

    # --- months that have left --------------------------------------------------------------------------------

    def exports(self, *, complete: bool) -> None:
        """Each exported month: the log tells of it, under that digest; as many events have left; its file, if given, is that file."""
        for month, row in self.months.items():
            if row["sha256"] not in row["told"]:
                self.found.add(
                    "export",
                    f"{month} left as a file of which the log does not tell: no EventsExported names its digest",
                )
            gone = self.found.exported[month]
            if complete and gone != row["events"]:
                self.found.add(
                    "export",
                    f"{month} left with {row['events']} events, and {gone} sealed ones of it are not here",
                )
        for month, archive in self.archives.items():
            self._file(month, archive, complete)

    def _file(self, month: str, archive: Archive, complete: bool) -> None:
        row = self.months.get(month)
        if row is None:
            self.found.add("export", f"{archive.name} holds events of {month}, which has not left")
        elif row["sha256"] != archive.sha256:
            self.found.add(
                "export",
                f"{archive.name} is not the file that left: its digest is {archive.sha256[:16]}..., noted is {row['sha256'][:16]}...",
            )
        if complete and len(archive.leaves) != self._checked[month]:
            more = len(archive.leaves) - self._checked[month]
            self.found.add("added", f"{more} events of {archive.name} are under no seal, or are still here")

    # --- what no seal covers ------------------------------------------------------------------------------------

    def outside(self, generations: Sequence[Generation]) -> None:
        """Generations that are sealed to their end have no more; and nobody has written what is not begun yet."""
        last = self.found.last
        for generation in generations:
            reached = last.to_tx if last and generation.id == last.generation else 0
            if last and generation.id < last.generation:
                end = self.db.run(partial(sealing.sealed_to, generation=generation.id))
                strangers = self.db.run(
                    partial(verifying.outside, generation=generation, from_tx=end, limit=_NAMED)
                )
                self._added(
                    strangers, f"generation {generation.id} was sealed to its end, and it is not in it"
                )
                continue
            self.found.unsealed += self.db.run(
                partial(verifying.unsealed, generation=generation, from_tx=reached)
            )
        strangers = self.db.run(partial(verifying.unheard_of, generation=generations[-1], limit=_NAMED))
        self._added(
            strangers,
            "its transaction is one that this cluster has not come to: forged, or restored from a dump and not adopted",
        )

    def _added(self, rows: Sequence[Row], why: str) -> None:
        for row in rows:
            self.found.add("added", why, lead=row["lead_id"], event=row["id"])

    def leads(self) -> None:
        """Each lead's own numbers: 1, 2, 3 ... up to the one that its row says, or up from the first that has not left."""
        after = 0
        while rows := self.db.run(partial(verifying.own_numbers, after=after, limit=_LEADS)):
            for row in rows:
                if not _is_whole(row, left=bool(self.months)):
                    numbers = self.db.run(partial(verifying.numbers_of, lead_id=row["id"]))
                    self.found.add("gap", _what_is_missing(numbers, row["event_seq"]), lead=row["id"])
            after = rows[-1]["id"]


def _in_words(one: Difference, row: Row | None) -> tuple[str, str]:
    """What happened to one event, and how it shows. `row`: where its id stands now."""
    was, now = one.was, one.now
    if one.wrong is Wrong.DELETED and was and row and int(row["tx"]) == was.tx:
        return "reordered", "it is not of its generation any more"
    if one.wrong is Wrong.DELETED and was and row:
        return "reordered", f"it was written by transaction {was.tx}, and says {row['tx']} now"
    if one.wrong is Wrong.DELETED:
        return "deleted", "it is not there any more"
    if one.wrong is Wrong.ADDED:
        return "added", "it was not there when this was sealed"
    if one.wrong is Wrong.CHANGED:
        return "changed", "it does not say what it said when it was sealed"
    assert was is not None
    if now is not None and now.id != was.id:
        return "reordered", f"it stands under the id {now.id} now"
    if now is not None and was.says == now.says:
        return (
            "reordered",
            f"it was number {was.seq} of its lead in transaction {was.tx}, and is number {now.seq} in {now.tx}",
        )
    return "reordered", "it has changed places with another event"


def _is_whole(row: Row, *, left: bool) -> bool:
    if not row["events"]:
        return left or not row["event_seq"]
    begins = row["first"] == 1 or left
    return bool(
        begins
        and row["last"] == row["event_seq"]
        and row["events"] == row["numbers"] == row["last"] - row["first"] + 1
    )


def _what_is_missing(numbers: Sequence[int], last: int) -> str:
    twice = sorted(number for number, times in Counter(numbers).items() if times > 1)
    if twice:
        return f"of its {last} events these numbers are there twice: {_listed(twice)}"
    gaps = sorted({*range(1, last + 1)} - {*numbers})
    if gaps:
        return f"of its {last} events these numbers are not there: {_listed(gaps)}"
    return f"it has events beyond number {last}, its last"


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return f"{shown} and {len(numbers) - 10} more" if len(numbers) > 10 else shown
