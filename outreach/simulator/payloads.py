"""Objects as the provider writes them: users, message events, activity payloads. Shapes from its reference pages."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from outreach.simulator.clock import epoch_millis, iso_millis
from outreach.simulator.network import Message, Network, User
from outreach.simulator.problems import Problem, invalid

#: fields that a look-up may ask for; those that this stand-in does not hold are accepted and left out
USER_FIELDS = frozenset(
    (
        "affiliation",
        "confirmed_email",
        "connection_status",
        "created_at",
        "description",
        "entities",
        "id",
        "is_identity_verified",
        "location",
        "most_recent_post_id",
        "most_recent_tweet_id",
        "name",
        "parody",
        "pinned_post_id",
        "pinned_tweet_id",
        "profile_banner_url",
        "profile_image_url",
        "protected",
        "public_metrics",
        "receives_your_dm",
        "subscription",
        "subscription_type",
        "url",
        "username",
        "verified",
        "verified_followers_count",
        "verified_type",
        "withheld",
    )
)
MESSAGE_FIELDS = frozenset(
    (
        "attachments",
        "created_at",
        "dm_conversation_id",
        "entities",
        "event_type",
        "id",
        "participant_ids",
        "referenced_posts",
        "referenced_tweets",
        "sender_id",
        "text",
    )
)


def wanted_user_fields(query: Mapping[str, str]) -> frozenset[str] | Problem:
    """The `user.fields` asked for."""
    wanted = frozenset(query.get("user.fields", "").split(",")) - {""}
    unknown = wanted - USER_FIELDS
    return invalid("user.fields", min(unknown)) if unknown else wanted


def short_user(user: User) -> dict[str, Any]:
    """What every look-up gives."""
    return {"id": user.id, "name": user.name, "username": user.handle}


def user_object(
    user: User, wanted: Collection[str], network: Network, viewer: str | None, horizon: datetime
) -> dict[str, Any]:
    """A user with the wanted fields, as `viewer` (an account's id; None: the app) sees them at the horizon."""
    shown = short_user(user)
    if "protected" in wanted:
        shown["protected"] = user.protected
    if "created_at" in wanted:
        shown["created_at"] = iso_millis(user.created_at)
    if "verified" in wanted:
        shown["verified"] = False
    if "public_metrics" in wanted:
        shown["public_metrics"] = _metrics(user, network)
    if viewer is not None and "connection_status" in wanted:
        shown["connection_status"] = _connection(network, viewer, user.id, horizon)
    if viewer is not None and "receives_your_dm" in wanted:
        shown["receives_your_dm"] = network.receives(viewer, user.id)
    return shown


def _metrics(user: User, network: Network) -> dict[str, int]:
    return {
        "followers_count": len(network.followers(user.id)),
        "following_count": len(network.following(user.id)),
        "tweet_count": 0,
        "listed_count": 0,
    }


def _connection(network: Network, viewer: str, other: str, horizon: datetime) -> list[str]:
    """The words for how the viewer and the other stand. That the other blocks the viewer has no word."""
    holds = {
        "following": network.follows(viewer, other, horizon),
        "followed_by": network.follows(other, viewer, horizon),
        "follow_request_sent": network.requested(viewer, other),
        "follow_request_received": network.requested(other, viewer),
        "blocking": network.blocks(viewer, other),
    }
    return [word for word, true in holds.items() if true]


def message_object(message: Message, wanted: Collection[str]) -> dict[str, Any]:
    """A message event of the read endpoints."""
    shown: dict[str, Any] = {"id": message.id, "event_type": "MessageCreate", "text": message.text}
    if "created_at" in wanted:
        shown["created_at"] = iso_millis(message.at)
    if "sender_id" in wanted:
        shown["sender_id"] = message.sender
    if "dm_conversation_id" in wanted:
        shown["dm_conversation_id"] = message.conversation
    return shown


def message_activity(message: Message, users: Mapping[str, User]) -> dict[str, Any]:
    """The payload of dm.received and dm.sent."""
    event = {
        "type": "message_create",
        "id": message.id,
        "created_timestamp": str(epoch_millis(message.at)),
        "message_create": {
            "target": {"recipient_id": message.recipient},
            "sender_id": message.sender,
            "message_data": {
                "text": message.text,
                "entities": {"hashtags": [], "symbols": [], "user_mentions": [], "urls": []},
            },
        },
    }
    return {
        "direct_message_events": [event],
        "users": {
            user_id: {"data": profile(users[user_id])} for user_id in (message.sender, message.recipient)
        },
    }


def pair_activity(source: User, target: User) -> dict[str, Any]:
    """The payload of follow and block events: who did it, and to whom."""
    return {"source": {"data": profile(source)}, "target": {"data": profile(target)}}


def revoke_activity(account: str, app_id: str, at: datetime) -> dict[str, Any]:
    """The payload of oauth.revoke."""
    return {"date_time": at.isoformat(timespec="seconds"), "user_id": account, "app_id": app_id}


def profile(user: User) -> dict[str, Any]:
    """A user inside an activity payload."""
    return {
        **short_user(user),
        "created_at": iso_millis(user.created_at),
        "protected": user.protected,
        "verified": False,
        "verified_type": "none",
        "description": "",
    }
