"""Looking people up, following and unfollowing them, and listing followers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from outreach.simulator.acts import Acts
from outreach.simulator.network import Network, User
from outreach.simulator.paging import Page, page_of
from outreach.simulator.payloads import user_object, wanted_user_fields
from outreach.simulator.problems import NOT_SELF_SERVE, Problem, invalid, lookup, missing, not_found
from outreach.simulator.routes import Auth, Call, Route, table
from outreach.simulator.wire import Response, answer
from outreach.simulator.world import HANDLE, USER_ID

MOST_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class UserRoutes:
    """Handlers over the network."""

    network: Network
    acts: Acts

    def routes(self) -> list[Route]:
        user, either, one = Auth.USER, Auth.EITHER, "/2/users/{id}"
        return table(
            ("users.me", "GET", "/2/users/me", self.me, user, "users.me"),
            ("users.by_handles", "GET", "/2/users/by", self.by_handles, either, "users"),
            ("users.by_ids", "GET", "/2/users", self.by_ids, either, "users"),
            ("users.by_handle", "GET", "/2/users/by/username/{username}", self.by_handle, either, "users"),
            ("users.by_id", "GET", one, self.by_id, either, "users"),
            ("follow", "POST", f"{one}/following", self.follow, user, "follow"),
            ("unfollow", "DELETE", f"{one}/following/{{target}}", self.unfollow, user, "unfollow"),
            ("followers", "GET", f"{one}/followers", self.followers, either, "followers"),
            ("following", "GET", f"{one}/following", self.following, either, "followers"),
        )

    # --- look-ups

    def me(self, call: Call) -> Response | Problem:
        return self._lookup(call, [call.account], "id", self.network.users.get, single=True)

    def by_id(self, call: Call) -> Response | Problem:
        user_id = call.params["id"]
        if not USER_ID.fullmatch(user_id):
            return invalid("id", user_id)
        return self._lookup(call, [user_id], "id", self.network.users.get, single=True)

    def by_handle(self, call: Call) -> Response | Problem:
        handle = call.params["username"]
        if not HANDLE.fullmatch(handle):
            return invalid("username", handle)
        return self._lookup(call, [handle], "username", self.network.by_handle, single=True)

    def by_ids(self, call: Call) -> Response | Problem:
        keys = call.request.query.get("ids", "").split(",")
        if len(keys) > MOST_AT_ONCE or not all(USER_ID.fullmatch(key) for key in keys):
            return invalid("ids", ",".join(keys))
        return self._lookup(call, keys, "id", self.network.users.get)

    def by_handles(self, call: Call) -> Response | Problem:
        """One malformed handle spoils the whole request, as it does at the provider."""
        keys = call.request.query.get("usernames", "").split(",")
        if len(keys) > MOST_AT_ONCE or not all(HANDLE.fullmatch(key) for key in keys):
            return invalid("usernames", ",".join(keys))
        return self._lookup(call, keys, "username", self.network.by_handle)

    def _lookup(
        self,
        call: Call,
        keys: Sequence[str],
        parameter: str,
        find: Callable[[str], User | None],
        *,
        single: bool = False,
    ) -> Response | Problem:
        wanted = wanted_user_fields(call.request.query)
        if isinstance(wanted, Problem):
            return wanted
        found, errors = [], []
        for key in keys:
            user = find(key)
            if user is None:
                errors.append(not_found(key, parameter))
            else:
                found.append(self._shown(call, user, wanted))
        return lookup(found, errors, single=single)

    def _shown(self, call: Call, user: User, wanted: frozenset[str]) -> dict[str, Any]:
        return user_object(user, wanted, self.network, call.account or None, call.horizon)

    # --- relations

    def follow(self, call: Call) -> Response | Problem:
        if call.params["id"] != call.account:
            return invalid("id", call.params["id"], "The `id` must be the authenticating user's.")
        body = call.request.json_object() or {}
        target = body.get("target_user_id")
        if not isinstance(target, str) or not USER_ID.fullmatch(target):
            return invalid("target_user_id", target, "target_user_id is a string of 1 to 19 digits.")
        if not self.network.users[call.account].follow_permitted:
            return NOT_SELF_SERVE
        followed = self.acts.follow(call.account, target, call.now, port=call.request.peer_port)
        if isinstance(followed, Problem):
            return followed
        return answer({"data": {"following": not followed.pending, "pending_follow": followed.pending}})

    def unfollow(self, call: Call) -> Response | Problem:
        if call.params["id"] != call.account:
            return invalid("id", call.params["id"], "The `id` must be the authenticating user's.")
        refused = self.acts.unfollow(
            call.account, call.params["target"], call.now, port=call.request.peer_port
        )
        return refused or answer({"data": {"following": False}})

    def followers(self, call: Call) -> Response | Problem:
        return self._list(call, self.network.followers(call.params["id"]))

    def following(self, call: Call) -> Response | Problem:
        return self._list(call, self.network.following(call.params["id"]))

    def _list(self, call: Call, user_ids: Sequence[str]) -> Response | Problem:
        wanted = wanted_user_fields(call.request.query)
        if isinstance(wanted, Problem):
            return wanted
        if call.params["id"] not in self.network.users:
            return missing(call.params["id"], "id")
        page = page_of(call.request.query, user_ids, key=str, most=1000, usual=100)
        if not isinstance(page, Page):
            return page
        return answer(
            page.payload([self._shown(call, self.network.users[one], wanted) for one in page.items])
        )
