"""The provider's own rate windows, on scaled time: fixed windows that begin with their first request.

Published limits: the provider's rate-limits page, read 2026-08. The headers describe one window only, the
15-minute one of whoever asks; the 24-hour windows of messages are enforced without a word, as the provider does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta

QUARTER = timedelta(minutes=15)
DAY = timedelta(hours=24)
#: what "roomy" multiplies the published limits by
ROOM = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """One bucket's limits. None: no such window."""

    #: per 15 minutes, for one account's token
    user: int | None = None
    #: per 15 minutes, for the app-only token
    app: int | None = None
    #: per 24 hours, for one account
    user_day: int | None = None
    #: per 24 hours, for all accounts of the app together
    app_day: int | None = None


PUBLISHED: Mapping[str, Limits] = {
    "users": Limits(user=900, app=300),
    "users.me": Limits(user=75),
    "follow": Limits(user=50),
    "unfollow": Limits(user=50),
    "followers": Limits(user=300, app=300),
    "dm.send": Limits(user=15, user_day=1440, app_day=1440),
    "dm.read": Limits(user=15),
    "subscriptions": Limits(user=500, app=500),
    "webhooks": Limits(app=450),
    "webhooks.replay": Limits(app=100),
}
_WINDOWS = tuple(f.name for f in fields(Limits))


def check_overrides(overrides: Mapping[str, Mapping[str, int]]) -> None:
    """Raises ValueError where a bucket or a window has no such name or its limit is no whole number above zero."""
    for bucket, windows in overrides.items():
        if bucket not in PUBLISHED:
            raise ValueError(f"{bucket!r} is none of {', '.join(PUBLISHED)}")
        for window, limit in windows.items():
            if window not in _WINDOWS:
                raise ValueError(f"{bucket}: {window!r} is none of {', '.join(_WINDOWS)}")
            if not isinstance(limit, int) or limit < 1:
                raise ValueError(f"{bucket}.{window}: {limit!r} is not a whole number above zero")


@dataclass(slots=True)
class Window:
    """One running window."""

    limit: int
    length: timedelta
    used: int = 0
    ends: datetime | None = None

    def roll(self, at: datetime) -> datetime:
        """Begin anew if it is over; returns when it ends."""
        if self.ends is None or at >= self.ends:
            self.used, self.ends = 0, at + self.length
        return self.ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one request cost. `reset` is scaled time."""

    allowed: bool
    limit: int
    remaining: int
    reset: datetime


class Quotas:
    """All windows of all buckets."""

    def __init__(self, *, published: bool, overrides: Mapping[str, Mapping[str, int]]) -> None:
        self._limits = {
            bucket: replace(_scaled(limits, 1 if published else ROOM), **overrides.get(bucket, {}))
            for bucket, limits in PUBLISHED.items()
        }
        self._windows: dict[tuple[str, str, str], Window] = {}

    def spend(self, bucket: str, account: str | None, at: datetime) -> Spent | None:
        """Count one request at a scaled instant; None where the bucket has no window. A refusal is not counted."""
        windows = self._of(bucket, account)
        if not windows:
            return None
        ends = [window.roll(at) for window in windows]
        allowed = all(window.used < window.limit for window in windows)
        if allowed:
            for window in windows:
                window.used += 1
        first = windows[0]
        return Spent(allowed=allowed, limit=first.limit, remaining=first.limit - first.used, reset=ends[0])

    def _of(self, bucket: str, account: str | None) -> list[Window]:
        """The windows that a request falls into, the one for the headers first."""
        limits = self._limits[bucket]
        if account is None:
            wanted = [("app", "", limits.app, QUARTER)]
        else:
            wanted = [
                ("user", account, limits.user, QUARTER),
                ("user_day", account, limits.user_day, DAY),
                ("app_day", "", limits.app_day, DAY),
            ]
        return [self._window(bucket, *one) for one in wanted if one[2] is not None]  # type: ignore[arg-type]

    def _window(self, bucket: str, kind: str, subject: str, limit: int, length: timedelta) -> Window:
        return self._windows.setdefault((bucket, kind, subject), Window(limit, length))


def _scaled(limits: Limits, factor: int) -> Limits:
    def times(limit: int | None) -> int | None:
        return None if limit is None else limit * factor

    return Limits(
        user=times(limits.user),
        app=times(limits.app),
        user_day=times(limits.user_day),
        app_day=times(limits.app_day),
    )
