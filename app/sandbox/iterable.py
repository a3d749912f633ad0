"""A stand-in for Iterable's API: the endpoints that the bridge calls, answered as Iterable does
(Iterable, API reference and API Response Codes)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

import orjson

from app.sandbox import iterable_bulk
from app.sandbox.iterable_bodies import BODIES, complaints
from app.sandbox.iterable_people import EMAIL, USERID, Identity, Refused
from app.sandbox.iterable_project import Project
from app.sandbox.keys import ANY, NONE, REVOKED, Keys
from app.sandbox.limits import Limit
from app.sandbox.standin import Control
from app.sandbox.wire import Answer, Request

# 4 MB, in the narrower reading: integrators stay below this one.
MAX_BODY = 4_000_000

SERVER, MOBILE, WEB, READ_ONLY = "server", "mobile", "web", "read-only"
DELETE_BY_EMAIL, DELETE_BY_USER_ID = "/api/users/{email}", "/api/users/byUserId/{userId}"

# Published limits (Iterable, API reference): requests and seconds, per project.
LIMITS: Mapping[str, Sequence[Limit]] = {
    "/api/users/update": [(500, 1)],
    "/api/users/bulkUpdate": [(5, 1)],
    "/api/users/registerDeviceToken": [(500, 1)],
    "/api/users/forget": [(3, 1), (1000, 86400)],
    DELETE_BY_EMAIL: [(100, 1)],
    DELETE_BY_USER_ID: [(100, 1)],
    "/api/users/getFields": [(3, 1)],
    "/api/users/getByEmail": [(100, 1)],
    "/api/users/byUserId": [(100, 1)],
    "/api/events/track": [(2000, 1)],
    "/api/events/trackBulk": [(10, 1)],
    "/api/lists": [(100, 1)],
}

_CODES = {
    400: "BadParams",
    401: "BadApiKey",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    429: "RateLimitExceeded",
}
_KEY_TYPES = {SERVER: "ServerSide", MOBILE: "Mobile", WEB: "Web", READ_ONLY: "ReadOnly"}
_TOO_LARGE = b"<html><head><title>413 Request Entity Too Large</title></head></html>"


class Call(NamedTuple):
    """One request to an endpoint: its checked body, query, rest of the path and time."""

    body: dict[str, Any]
    query: Mapping[str, str]
    identifier: str
    at: float


class Endpoint(NamedTuple):
    """What an endpoint does, and the keys that may call it (Iterable, API Keys article)."""

    act: Callable[[Project, Call], Any]
    keys: frozenset[str]


class Iterable:
    """One project in memory. Any key will do until keys are set."""

    name = "Iterable stand-in"
    # Iterable documents no compressed bodies, and nobody sends it any.
    inflates = False
    limits: Mapping[str, Sequence[Limit]] = LIMITS

    def __init__(self) -> None:
        self._keys = Keys(list(_KEY_TYPES))
        self._project = Project()

    def endpoint(self, request: Request) -> str:
        """The path, without anybody's identifier."""
        return _route(request)[0]

    def key(self, request: Request) -> str:
        """The key's type."""
        headers = request.headers
        return self._keys.type(headers.get("api-key") or headers.get("api_key"))

    def answer(self, request: Request, at: float) -> Answer:
        """Check key and body, then do what is asked."""
        path, identifier = _route(request)
        try:
            endpoint = _ENDPOINTS.get((request.method, path))
            if endpoint is None:
                raise Refused("NotFound", f"No {request.method} {request.path}", status=404)
            self._authorize(path, endpoint, self.key(request))
            if len(request.body) > MAX_BODY:
                return Answer(413, _TOO_LARGE, "text/html")
            body = _parse(path, request)
            result = endpoint.act(self._project, Call(body, request.query, identifier, at))
        except Refused as refusal:
            return _standard(refusal.status, refusal.message, refusal.code, refusal.params)
        return Answer(200, orjson.dumps(result))

    def failure(self, endpoint: str, status: int) -> Any:
        """Iterable's form of a failure."""
        message = f"Failed by order with {status}"
        if status == 429:
            message = f"Exceeded rate limit for endpoint: {endpoint}, project: 1"
        params: Any = {} if status == 429 else None
        return {"msg": message, "code": _CODES.get(status, "GenericError"), "params": params}

    def controls(self) -> Mapping[str, Control]:
        """`/keys`: {key: type}; `/project`: what ProjectSchema takes."""
        return {"/keys": self._keys.set, "/project": self._configure}

    def shown(self, limit: int) -> dict[str, Any]:
        """Users, events, purchases and carts."""
        project = self._project
        people, events, purchases = project.people, project.events, project.purchases
        return {
            "totals": {
                "users": len(people),
                "events": events.total,
                "event_updates": events.repeats,
                "purchases": purchases.total,
                "purchase_updates": purchases.repeats,
            },
            "users": [profile.shown() for profile in people.newest(limit)],
            "events": events.newest(limit),
            "purchases": purchases.newest(limit),
            "carts": {one.user_id or one.email: one.cart for one in people.carts(limit)},
        }

    def reset(self) -> None:
        """An empty project of the lenient type, and any key will do."""
        self._keys.reset()
        self._project = Project()

    def _configure(self, given: Any) -> None:
        self._project.configure(given)

    def _authorize(self, path: str, endpoint: Endpoint, key: str) -> None:
        if key in (NONE, REVOKED):
            raise Refused("BadApiKey", "Invalid API key", status=401, params={"endpoint": path})
        if key != ANY and key not in endpoint.keys:
            params = {"endpoint": path, "apiKeyType": _KEY_TYPES[key]}
            message = "Disabled API key or insufficient privileges"
            raise Refused("BadApiKey", message, status=401, params=params)


def _route(request: Request) -> tuple[str, str]:
    """The endpoint and the identifier at the end of the path of a DELETE."""
    path = request.path
    if path in _PATHS:
        return path, ""
    if request.method == "DELETE":
        for endpoint in (DELETE_BY_USER_ID, DELETE_BY_EMAIL):
            prefix = endpoint[: endpoint.index("{")]
            identifier = path.removeprefix(prefix)
            if identifier not in (path, "") and "/" not in identifier:
                return endpoint, unquote(identifier)
    return "unknown", ""


def _parse(path: str, request: Request) -> dict[str, Any]:
    shape = BODIES.get(path)
    if shape is None:
        return {}
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError as problem:
        raise Refused("BadJsonBody", f"[{path}] Invalid JSON body") from problem
    wrong = complaints(body, shape)
    if wrong:
        raise Refused("BadJsonBody", f"[{path}] Invalid JSON body", params=wrong)
    return dict(body)


def _standard(status: int, message: str, code: str, params: Any = None) -> Answer:
    return Answer(status, orjson.dumps(_success(message, params) | {"code": code}))


def _success(message: str = "", params: Any = None) -> dict[str, Any]:
    return {"msg": message, "code": "Success", "params": params}


def _update(project: Project, call: Call) -> Any:
    project.upsert(call.body)
    return _success()


def _update_many(project: Project, call: Call) -> Any:
    return iterable_bulk.update_users(project, call.body)


def _change_email(project: Project, call: Call) -> Any:
    project.change_email(call.body)
    return _success()


def _add_device(project: Project, call: Call) -> Any:
    project.add_device(call.body)
    return _success()


def _disable_device(project: Project, call: Call) -> Any:
    project.disable_device(call.body)
    return _success()


def _add_browser_token(project: Project, call: Call) -> Any:
    project.add_browser_token(call.body)
    return _success()


def _forget(project: Project, call: Call) -> Any:
    who = Identity.of(call.body)
    project.people.require(who)
    if project.people.type is EMAIL and who.email is None:
        raise Refused("BadParams", "Email-based projects forget by email")
    project.people.forget(who)
    return _success()


def _delete_by_email(project: Project, call: Call) -> Any:
    if project.people.type is USERID:
        raise Refused("BadParams", "userID-based projects delete by userId")
    profile = project.people.find(Identity.of({"email": call.identifier}))
    if profile is not None:
        project.people.remove(profile)
    return _success()


def _delete_by_user_id(project: Project, call: Call) -> Any:
    profile = project.people.find(Identity(None, call.identifier))
    if profile is None:
        raise Refused("BadParams", "User does not exist")
    project.people.remove(profile)
    return _success()


def _track(project: Project, call: Call) -> Any:
    name = call.body["eventName"]
    if name in project.disallowed_events:
        # Accepted to all appearances: only the text tells.
        return _success(f"Event '{name}' is disallowed from tracking.")
    id, _, _ = project.track(call.body, call.at)
    return _success(f"Event with id: {id} tracked.", {"id": id})


def _track_many(project: Project, call: Call) -> Any:
    return iterable_bulk.track_events(project, call.body, call.at)


def _replace_cart(project: Project, call: Call) -> Any:
    project.replace_cart(call.body)
    return _success()


def _purchase(project: Project, call: Call) -> Any:
    return _success(params={"id": project.purchase(call.body, call.at)})


def _get_user(project: Project, call: Call) -> Any:
    profile = project.people.find(Identity.of(call.query))
    # An unknown user is an empty object, not a 404.
    return {} if profile is None else {"user": profile.shown()}


def _get_fields(project: Project, _: Call) -> Any:
    return {"fields": dict(project.fields.of("user"))}


def _get_lists(_: Project, __: Call) -> Any:
    return {"lists": []}


def _get_webhooks(_: Project, __: Call) -> Any:
    return {"webhooks": []}


_SERVER_ONLY = frozenset({SERVER})
_READING = frozenset({SERVER, READ_ONLY})
_CLIENTS = frozenset({SERVER, MOBILE, WEB})

_ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("POST", "/api/users/update"): Endpoint(_update, _CLIENTS),
    ("POST", "/api/users/bulkUpdate"): Endpoint(_update_many, _SERVER_ONLY),
    ("POST", "/api/users/updateEmail"): Endpoint(_change_email, _CLIENTS),
    ("POST", "/api/users/registerDeviceToken"): Endpoint(_add_device, frozenset({MOBILE})),
    ("POST", "/api/users/disableDevice"): Endpoint(_disable_device, frozenset({MOBILE})),
    ("POST", "/api/users/registerBrowserToken"): Endpoint(_add_browser_token, frozenset({WEB})),
    ("POST", "/api/users/forget"): Endpoint(_forget, _SERVER_ONLY),
    ("DELETE", DELETE_BY_EMAIL): Endpoint(_delete_by_email, _SERVER_ONLY),
    ("DELETE", DELETE_BY_USER_ID): Endpoint(_delete_by_user_id, _SERVER_ONLY),
    ("POST", "/api/events/track"): Endpoint(_track, _CLIENTS),
    ("POST", "/api/events/trackBulk"): Endpoint(_track_many, _SERVER_ONLY),
    ("POST", "/api/commerce/updateCart"): Endpoint(_replace_cart, _CLIENTS),
    ("POST", "/api/commerce/trackPurchase"): Endpoint(_purchase, _CLIENTS),
    ("GET", "/api/users/getByEmail"): Endpoint(_get_user, _READING),
    ("GET", "/api/users/byUserId"): Endpoint(_get_user, _READING),
    ("GET", "/api/users/getFields"): Endpoint(_get_fields, _READING),
    ("GET", "/api/lists"): Endpoint(_get_lists, _READING),
    ("GET", "/api/webhooks"): Endpoint(_get_webhooks, _SERVER_ONLY),
}
_PATHS = frozenset(path for _, path in _ENDPOINTS)
