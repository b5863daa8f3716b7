"""Which arm of an A/B test a lead gets: by hash, sticky, with the author's weights."""

from outreach.engine.graph import Message, Variant
from outreach.ids import bucket


def choose(message: Message, *, person_id: int, node_key: str) -> Variant:
    """The person's arm at this node: the same for ever, whichever worker asks."""
    total = sum(v.weight for v in message.variants)
    point = bucket("variant", person_id, node_key) * total
    for variant in message.variants:
        point -= variant.weight
        if point < 0:
            return variant
    return message.variants[-1]
