"""What becomes what: a call of Segment's → the requests to Iterable's API.

Pure: no I/O, no clock, no randomness. The rooms beside it know the details: `profile` the identify
calls, `events` what people do, `commerce` carts and orders, `identity` who it is about.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from app.outbound.dates import DateSpeller
from app.outbound.events import EventMapper, Requests
from app.outbound.identity import Identity, identifiers, is_email, message_id, person
from app.outbound.profile import ProfileMapper, update_email
from app.outbound.request import IterableRequest, post
from app.outbound.switches import is_loop, is_switched_off
from app.outcomes import Discarded
from app.settings import ProjectType, Settings

__all__ = ["CallMapper", "message_id", "person"]

Route = Callable[[Mapping[str, Any], float], Requests | Discarded]

_UNSUPPORTED = Discarded("unsupported_type")


class CallMapper:
    """Maps validated calls as the settings say."""

    def __init__(self, settings: Settings) -> None:
        self._project = settings.iterable_project_type
        self._on_delete = settings.on_delete
        self._identity = Identity(settings.iterable_project_type)
        dates = DateSpeller(keep_date_only=settings.date_only_strings == "keep")
        events = EventMapper(settings, self._identity, dates)
        self._routes: dict[str, Route] = {
            "identify": ProfileMapper(settings, self._identity, dates).identify,
            "track": events.track,
            "page": events.view,
            "screen": events.view,
            "alias": self._alias,
            "delete": self._delete,
        }

    def map(self, call: Mapping[str, Any], received_at: float, door: str) -> Requests | Discarded:
        """The requests that deliver a call, in order, or why it is deliberately not sent.

        `call` has passed `check_call` and stays as it is. `received_at` is in Unix seconds; `door`
        is `segment` (the webhook) or `tracking` (/v1/*).
        Raises BadInput for a call that cannot be mapped: `no_identity`, `invalid_product`,
        `no_total`, `nested_too_deep`.
        """
        if is_loop(call):
            return Discarded("loop")
        if is_switched_off(call, door):
            return Discarded("integration_off")
        route = self._routes.get(call["type"])
        return _UNSUPPORTED if route is None else route(call, received_at)

    def _alias(self, call: Mapping[str, Any], _: float) -> Requests | Discarded:
        """A change of address, when both ids are addresses; ids of other kinds cannot be changed
        so."""
        old, new = call.get("previousId"), call.get("userId")
        if not is_email(old) or not is_email(new) or self._project is ProjectType.USERID:
            return _UNSUPPORTED
        if self._project is ProjectType.HYBRID:
            return (post("users/update", {"email": old, "dataFields": {"email": new}}),)
        return (update_email(old, None, str(new)),)

    def _delete(self, call: Mapping[str, Any], _: float) -> Requests | Discarded:
        """A user's deletion. `forget` also keeps the user from coming back (Iterable, GDPR
        article)."""
        if self._on_delete == "ignore":
            return Discarded("delete_ignored")
        ((name, value),) = self._identity.one(identifiers(call)).items()
        if self._on_delete == "forget":
            return (post("users/forget", {name: value}),)
        place = quote(value, safe="") if name == "email" else f"byUserId/{quote(value, safe='')}"
        return (IterableRequest("users/delete", "DELETE", f"/api/users/{place}", None),)
