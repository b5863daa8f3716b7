"""The demo's own reads and writes: whom to take, and what the simulator must know of them."""

from collections.abc import Sequence
from datetime import datetime

from outreach.models.base import Row, Tx, to_json


def people_to_enroll(tx: Tx, limit: int) -> list[Row]:
    """Invented contacts first, then the directory, each with one Twitter identity of their own."""
    return tx.rows(
        """
        SELECT p.id AS person_id, min(i.id) AS identity_id FROM person p JOIN identity i ON i.person_id = p.id
         WHERE i.kind IN ('twitter_id', 'twitter_handle') AND i.status = 'active' AND p.suppressed_at IS NULL AND p.merged_into IS NULL
         GROUP BY p.id, p.invented ORDER BY p.invented DESC, p.id LIMIT %s""",
        (limit,),
    )


def make_segment(tx: Tx, name: str, person_ids: Sequence[int], now: datetime) -> None:
    """A frozen list."""
    row = tx.one(
        "INSERT INTO segment (name, definition, counts, built_at) VALUES (%s, %s, %s, %s) RETURNING id",
        (name, to_json({"where": "the demo's people"}), to_json({"members": len(person_ids)}), now),
    )
    tx.insert_many(
        "INSERT INTO segment_member (segment_id, person_id) VALUES %s", [(row["id"], p) for p in person_ids]
    )


def spread_zones(tx: Tx, person_ids: Sequence[int], zones: Sequence[str]) -> None:
    """The directory knows no zones; the demo spreads its people over some."""
    tx.execute(
        "UPDATE person SET zone = (%s::text[])[1 + id %% %s] WHERE id = ANY(%s) AND zone IS NULL",
        (list(zones), len(zones), list(person_ids)),
    )


def handles_of_segment(tx: Tx, name: str) -> list[Row]:
    """The members' handles, and their ids where the file gave one."""
    return tx.rows(
        """
        SELECT m.person_id,
               (SELECT i.value FROM identity i WHERE i.person_id = m.person_id AND i.kind = 'twitter_handle' ORDER BY i.id LIMIT 1) AS handle,
               (SELECT i.value FROM identity i WHERE i.person_id = m.person_id AND i.kind = 'twitter_id' ORDER BY i.id LIMIT 1) AS external_id
          FROM segment_member m JOIN segment s ON s.id = m.segment_id WHERE s.name = %s ORDER BY m.person_id""",
        (name,),
    )


def open_follow_tasks(tx: Tx, limit: int) -> list[Row]:
    """Follows and unfollows that wait for a human's tap."""
    return tx.rows(
        """
        SELECT t.id, e.kind, a.external_id AS account, i.value AS recipient FROM task t
          JOIN execution e ON e.id = t.execution_id JOIN account a ON a.id = e.account_id JOIN identity i ON i.id = e.identity_id
         WHERE t.state = 'open' AND t.kind = 'act' AND e.kind IN ('FOLLOW_ON_TWITTER', 'UNFOLLOW_ON_TWITTER') ORDER BY t.id LIMIT %s""",
        (limit,),
    )


def latest_replies(tx: Tx, limit: int) -> list[Row]:
    """The newest replies with their class and what the lead did about it."""
    return tx.rows(
        """
        SELECT b.id, b.person_id, b.class, b.occurred_at,
               (SELECT v.payload ->> 'trigger' || ' -> ' || coalesce(v.payload ->> 'to', 'END') FROM event v JOIN signal g ON g.inbound_id = b.id
                 WHERE v.lead_id = g.lead_id AND v.kind = 'LeadMoved' AND (v.payload ->> 'signal_id')::bigint = g.id LIMIT 1) AS moved
          FROM inbound b WHERE b.kind = 'message_in' AND b.class IS NOT NULL AND EXISTS (SELECT 1 FROM signal g WHERE g.inbound_id = b.id)
         ORDER BY b.id DESC LIMIT %s""",
        (limit,),
    )


def a_refusal(tx: Tx) -> Row | None:
    """The newest thing the gate did not let through, with its rule."""
    return tx.row(
        """
        SELECT l.person_id, e.kind, e.verdict FROM execution e JOIN lead l ON l.id = e.lead_id
         WHERE e.verdict ->> 'decision' IN ('hand_over', 'block') ORDER BY e.id DESC LIMIT 1"""
    )


def used_since(tx: Tx, since: datetime) -> list[Row]:
    """Per account and kind, what counts against a cap whose window began at `since`."""
    return tx.rows(
        "SELECT a.name, e.kind, count(*) AS used FROM execution e JOIN account a ON a.id = e.account_id"
        " WHERE e.effect_by > %s GROUP BY a.name, e.kind ORDER BY a.name, e.kind",
        (since,),
    )


def handles_after(tx: Tx, identity_id: int, limit: int) -> list[Row]:
    """Twitter handles that came in after that identity: id, person_id, handle, and the person's numeric id where it is known."""
    return tx.rows(
        """
        SELECT i.id, i.person_id, i.value AS handle,
               (SELECT n.value FROM identity n WHERE n.person_id = i.person_id AND n.kind = 'twitter_id' ORDER BY n.id LIMIT 1) AS external_id
          FROM identity i WHERE i.kind = 'twitter_handle' AND i.id > %s ORDER BY i.id LIMIT %s""",
        (identity_id, limit),
    )
