"""The stand-in Iterable answers as Iterable's documents and recordings say."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.sandbox_process import Sandbox


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


class Caller:
    """Calls the stand-in's API."""

    def __init__(self, sandbox: Sandbox, session: requests.Session) -> None:
        self._url = f"{sandbox.iterable}/api/"
        self._session = session

    def send(self, method: str, path: str, key: str | None = "any-key", **more: Any):
        headers = {} if key is None else {"Api-Key": key}
        return self._session.request(method, self._url + path, headers=headers, timeout=10, **more)

    def post(self, path: str, body: Any, key: str | None = "any-key"):
        return self.send("POST", path, key, json=body)

    def refusal(self, path: str, body: Any) -> tuple[int, str]:
        answer = self.post(path, body)
        return answer.status_code, answer.json()["code"]

    def user(self, email: str) -> Any:
        answer = self.send("GET", "users/getByEmail", params={"email": email})
        return answer.json().get("user")


@pytest.fixture
def api(sandbox: Sandbox, session: requests.Session) -> Caller:
    return Caller(sandbox, session)


ITEM = {"id": "p1", "name": "Shoe", "price": 9.5, "quantity": 1}


# --- users/update ---------------------------------------------------------------------------------


def test_answers_a_user_update_in_the_standard_form(api):
    answer = api.post("users/update", {"email": "a@example.com", "dataFields": {"city": "Oslo"}})

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {"msg": "", "code": "Success", "params": None}


def test_merges_top_level_fields_and_null_removes_one(api):
    first = {"city": "Oslo", "plan": "pro", "address": {"zip": "1", "street": "A"}}
    api.post("users/update", {"email": "a@example.com", "dataFields": first})
    later = {"city": None, "address": {"zip": "2"}}
    api.post("users/update", {"email": "a@example.com", "dataFields": later})

    assert api.user("a@example.com")["dataFields"] == {"plan": "pro", "address": {"zip": "2"}}


def test_merges_nested_objects_one_level_deep_when_asked(api):
    first = {"address": {"zip": "1", "street": "A"}, "name": "x"}
    api.post("users/update", {"email": "a@example.com", "dataFields": first})
    later = {
        "email": "a@example.com",
        "dataFields": {"address": {"zip": "2"}, "name": {"first": "y"}},
        "mergeNestedObjects": True,
    }
    api.post("users/update", later)

    assert api.user("a@example.com")["dataFields"] == {
        "address": {"zip": "2", "street": "A"},
        "name": {"first": "y"},
    }


def test_keeps_addresses_in_lower_case(api):
    api.post("users/update", {"email": "Jane@Example.COM", "userId": "u1"})

    assert api.user("jane@example.com")["email"] == "jane@example.com"


def test_an_unknown_user_is_an_empty_object(api):
    answer = api.send("GET", "users/byUserId", params={"userId": "nobody"})

    assert (answer.status_code, answer.json()) == (200, {})


def test_tolerates_top_level_fields_that_it_does_not_know(api):
    assert api.post("users/update", {"userId": "u1", "new": [1]}).status_code == 200


def test_null_counts_as_absent(api):
    body = {"userId": "u1", "email": None, "dataFields": None}

    assert api.post("users/update", body).status_code == 200


@pytest.mark.parametrize(
    ("identity", "code"),
    [
        ({}, "BadParams"),
        ({"email": "none"}, "InvalidEmailAddressError"),
        ({"email": ""}, "InvalidEmailAddressError"),
        ({"email": "a@b"}, "InvalidEmailAddressError"),
        ({"userId": ""}, "InvalidUserIdError"),
        ({"userId": "x" * 53}, "InvalidUserIdError"),
        ({"userId": "ends with a blank "}, "InvalidUserIdError"),
        ({"userId": "ü"}, "InvalidUserIdError"),
        ({"userId": "u1", "dataFields": {"email": "none"}}, "InvalidEmailAddressError"),
    ],
)
def test_refuses_unusable_identifiers(api, identity, code):
    assert api.refusal("users/update", identity) == (400, code)


# --- JSON types -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "place", "complaint"),
    [
        ("users/update", [], "obj", "error.expected.jsobject"),
        ("users/update", {"userId": 7}, "obj.userId", "String value expected"),
        ("users/update", {"dataFields": []}, "obj.dataFields", "error.expected.jsobject"),
        (
            "users/bulkUpdate",
            {"users": [{"userId": "u"}, {"preferUserId": "yes"}]},
            "obj.users[1].preferUserId",
            "Boolean value expected",
        ),
        ("users/bulkUpdate", {"users": {}}, "obj.users", "error.expected.jsarray"),
        ("users/bulkUpdate", {}, "obj.users", "error.path.missing"),
        (
            "events/trackBulk",
            {"events": [{"eventName": "e"}, {"eventName": "e", "createdAt": "now"}]},
            "obj.events[1].createdAt",
            "Number value expected",
        ),
        ("events/track", {"userId": "u"}, "obj.eventName", "error.path.missing"),
        (
            "events/track",
            {"eventName": "e", "campaignId": 2**31},
            "obj.campaignId",
            "Number value expected",
        ),
        (
            "events/track",
            {"eventName": "e", "createdAt": True},
            "obj.createdAt",
            "Number value expected",
        ),
        (
            "commerce/updateCart",
            {"user": {}, "items": [{**ITEM, "quantity": 1.5}]},
            "obj.items[0].quantity",
            "Number value expected",
        ),
        (
            "commerce/updateCart",
            {"user": {}, "items": [{**ITEM, "categories": ["a", 1]}]},
            "obj.items[0].categories[1]",
            "String value expected",
        ),
        (
            "commerce/trackPurchase",
            {"user": {}, "items": [], "total": "9.50"},
            "obj.total",
            "Number value expected",
        ),
        (
            "users/registerDeviceToken",
            {"userId": "u", "device": {"token": "t", "platform": "GCM"}},
            "obj.device.applicationName",
            "error.path.missing",
        ),
    ],
)
def test_names_the_path_of_a_wrong_json_type(api, path, body, place, complaint):
    answer = api.post(path, body)

    assert answer.status_code == 400
    assert answer.json()["code"] == "BadJsonBody"
    assert answer.json()["params"][place] == complaint


def test_refuses_what_is_not_json_and_what_is_compressed(api):
    for content in (b"{", b"", b"\x1f\x8b"):
        answer = api.send("POST", "users/update", data=content)
        assert (answer.status_code, answer.json()["code"]) == (400, "BadJsonBody")


# --- project types --------------------------------------------------------------------------------


def test_classic_finds_a_user_by_either_identifier(sandbox, api):
    api.post("users/update", {"userId": "u1", "dataFields": {"a": 1}})
    api.post("users/update", {"userId": "u1", "dataFields": {"email": "a@example.com", "b": 2}})
    api.post("users/update", {"email": "a@example.com", "dataFields": {"c": 3}})
    api.post("users/update", {"email": "b@example.com", "userId": "u1"})

    users = sandbox.shown()["users"]
    assert [user["email"] for user in users] == ["a@example.com", "b@example.com"]
    assert users[0]["dataFields"] == {"a": 1, "b": 2, "c": 3}


def test_an_email_project_knows_a_new_user_id_only_with_prefer_user_id(sandbox, api):
    sandbox.tell("/project", {"type": "email"})

    assert api.refusal("users/update", {"userId": "u1"}) == (400, "UnknownUserIdError")
    assert api.post("users/update", {"userId": "u1", "preferUserId": True}).status_code == 200
    assert sandbox.shown()["users"][0]["email"] == "u1+1@placeholder.email"


def test_an_email_project_overwrites_the_user_id(sandbox, api):
    sandbox.tell("/project", {"type": "email"})
    api.post("users/update", {"email": "a@example.com", "userId": "u1"})
    api.post("users/update", {"email": "a@example.com", "userId": "u2"})
    api.post("users/update", {"userId": "u2", "dataFields": {"userId": "u3", "email": "x@y.com"}})

    assert api.user("a@example.com")["userId"] == "u3"
    assert api.refusal("users/update", {"userId": "u1"}) == (400, "UnknownUserIdError")


def test_an_email_project_tracks_nothing_for_unknown_users(sandbox, api):
    sandbox.tell("/project", {"type": "email"})

    event = {"eventName": "e", "email": "a@example.com"}
    assert api.refusal("events/track", event) == (400, "UnknownEmailError")
    assert api.refusal("events/track", {"eventName": "e", "userId": "u"}) == (
        400,
        "UnknownUserIdError",
    )


def test_a_userid_project_does_not_identify_by_email(sandbox, api):
    sandbox.tell("/project", {"type": "userid"})
    api.post("users/update", {"userId": "u1", "email": "same@example.com"})
    api.post("users/update", {"userId": "u2", "email": "same@example.com"})

    assert api.refusal("users/update", {"email": "same@example.com"}) == (400, "BadParams")
    assert [user["userId"] for user in sandbox.shown()["users"]] == ["u1", "u2"]
    taken = {"userId": "u1", "dataFields": {"userId": "u2"}}
    assert api.refusal("users/update", taken) == (409, "ExternalKeyConflict")


def test_a_userid_project_creates_the_user_of_an_event(sandbox, api):
    sandbox.tell("/project", {"type": "userid"})
    api.post("events/track", {"eventName": "e", "userId": "u9"})

    assert sandbox.shown()["users"][0]["userId"] == "u9"


def test_a_hybrid_project_refuses_identifiers_of_two_users(sandbox, api):
    sandbox.tell("/project", {"type": "hybrid"})
    api.post("users/update", {"userId": "u1"})
    api.post("users/update", {"email": "a@example.com"})

    both = {"userId": "u1", "email": "a@example.com"}
    assert api.refusal("users/update", both) == (409, "ExternalKeyConflict")
    taken = {"userId": "u1", "dataFields": {"email": "a@example.com"}}
    assert api.refusal("users/update", taken) == (409, "ExternalKeyConflict")


def test_a_hybrid_project_changes_the_address_by_data_fields(sandbox, api):
    sandbox.tell("/project", {"type": "hybrid"})
    api.post("users/update", {"userId": "u1", "email": "old@example.com"})
    api.post("users/update", {"userId": "u1", "dataFields": {"email": "new@example.com"}})

    assert api.user("new@example.com")["userId"] == "u1"
    assert api.user("old@example.com") is None


# --- email change ---------------------------------------------------------------------------------


def test_moves_a_user_to_a_new_address(api):
    api.post("users/update", {"email": "old@example.com", "userId": "u1"})
    change = {"currentEmail": "old@example.com", "newEmail": "New@example.com"}

    assert api.post("users/updateEmail", change).status_code == 200
    assert api.user("new@example.com")["userId"] == "u1"
    again = api.post("users/updateEmail", change)
    assert (again.status_code, again.json()["code"]) == (400, "BadParams")
    assert again.json()["msg"] == (
        "Cannot change user Some(old@example.com) to new@example.com. User does not exist"
    )


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"currentUserId": "u1", "newEmail": "b@example.com"}, 400, "EmailAlreadyExists"),
        ({"currentEmail": "a@example.com", "newEmail": "gone@example.com"}, 409, None),
        ({"currentEmail": "a@example.com", "newEmail": "x"}, 400, "InvalidEmailAddressError"),
        ({"currentEmail": "x", "newEmail": "n@example.com"}, 400, "InvalidEmailAddressError"),
        ({"newEmail": "n@example.com"}, 400, "BadParams"),
    ],
)
def test_refuses_an_email_change(api, change, status, code):
    api.post("users/update", {"email": "a@example.com", "userId": "u1"})
    api.post("users/update", {"email": "b@example.com"})
    api.post("users/forget", {"email": "gone@example.com"})

    assert api.refusal("users/updateEmail", change) == (status, code or "ForgottenUserError")


def test_hybrid_projects_do_not_change_addresses_by_update_email(sandbox, api):
    sandbox.tell("/project", {"type": "hybrid"})
    change = {"currentEmail": "a@example.com", "newEmail": "b@example.com"}

    assert api.refusal("users/updateEmail", change) == (400, "BadParams")


# --- tokens ---------------------------------------------------------------------------------------


def test_registers_and_disables_a_device(api):
    device = {"token": "t1", "platform": "APNS", "applicationName": "shop"}
    api.post("users/registerDeviceToken", {"email": "a@example.com", "device": device})
    assert api.user("a@example.com")["dataFields"]["devices"] == [
        {**device, "endpointEnabled": True}
    ]

    for owner in ({}, {"email": "a@example.com"}, {"email": "unknown@example.com"}):
        body = {"token": "t1", **owner}
        assert api.post("users/disableDevice", body).status_code == 200
    assert api.user("a@example.com")["dataFields"]["devices"][0]["endpointEnabled"] is False


def test_refuses_an_unknown_platform_and_the_501st_token(api):
    device = {"token": "t", "platform": "iOS", "applicationName": "shop"}
    body = {"userId": "u1", "device": device}
    assert api.refusal("users/registerDeviceToken", body) == (400, "BadParams")

    for number in range(500):
        device = {"token": str(number), "platform": "GCM", "applicationName": "shop"}
        api.post("users/registerDeviceToken", {"userId": "u1", "device": device})
        api.post("users/registerBrowserToken", {"userId": "u1", "browserToken": str(number)})
    device = {"token": "more", "platform": "GCM", "applicationName": "shop"}
    body = {"userId": "u1", "device": device}
    assert api.refusal("users/registerDeviceToken", body) == (400, "BadParams")
    body = {"userId": "u1", "browserToken": "more"}
    assert api.refusal("users/registerBrowserToken", body) == (400, "BadParams")
    assert api.post("users/registerBrowserToken", {**body, "browserToken": "7"}).ok


# --- forgetting and deleting ----------------------------------------------------------------------


def test_refuses_every_write_for_a_forgotten_user(api):
    api.post("users/update", {"email": "a@example.com", "userId": "u1"})
    assert api.post("users/forget", {"email": "a@example.com"}).status_code == 200

    assert api.user("a@example.com") is None
    for identity in ({"email": "a@example.com"}, {"userId": "u1"}):
        assert api.refusal("users/update", identity) == (400, "ForgottenUserError")
        event = {"eventName": "e", **identity}
        assert api.refusal("events/track", event) == (400, "ForgottenUserError")


def test_an_email_project_forgets_by_email_only(sandbox, api):
    sandbox.tell("/project", {"type": "email"})

    assert api.refusal("users/forget", {"userId": "u1"}) == (400, "BadParams")


def test_deletes_by_email_known_or_not(api):
    api.post("users/update", {"email": "a+b@example.com"})

    assert api.send("DELETE", "users/a%2Bb%40example.com").status_code == 200
    assert api.user("a+b@example.com") is None
    assert api.send("DELETE", "users/a%2Bb%40example.com").status_code == 200


def test_deletes_by_user_id_only_who_is_known(api):
    api.post("users/update", {"userId": "a/b"})

    assert api.send("DELETE", "users/byUserId/a%2Fb").status_code == 200
    again = api.send("DELETE", "users/byUserId/a%2Fb")
    assert (again.status_code, again.json()["msg"]) == (400, "User does not exist")


def test_a_userid_project_does_not_delete_by_email(sandbox, api):
    sandbox.tell("/project", {"type": "userid"})

    assert api.send("DELETE", "users/a@example.com").status_code == 400


# --- events and commerce --------------------------------------------------------------------------


def test_the_same_event_id_updates_instead_of_duplicating(sandbox, api):
    event = {"userId": "u1", "eventName": "Signed Up", "id": "m-1", "createdAt": 1700000000}
    answer = api.post("events/track", {**event, "dataFields": {"plan": "a"}})
    api.post("events/track", {**event, "dataFields": {"plan": "b"}})

    assert answer.json()["msg"] == "Event with id: m-1 tracked."
    assert answer.json()["params"] == {"id": "m-1"}
    state = sandbox.shown()
    assert state["totals"]["events"] == 1
    assert state["totals"]["event_updates"] == 1
    assert state["events"][0]["dataFields"] == {"plan": "b"}
    assert state["events"][0]["userId"] == "u1"
    assert state["events"][0]["createdAt"] == 1700000000


def test_events_without_an_id_are_all_kept(sandbox, api):
    for _ in range(2):
        api.post("events/track", {"userId": "u1", "eventName": "e"})

    assert sandbox.shown()["totals"]["events"] == 2


@pytest.mark.parametrize("id", ["a_b", "a b", "x" * 513])
def test_refuses_an_event_id_of_other_characters_or_over_512_bytes(api, id):
    event = {"userId": "u1", "eventName": "e", "id": id}

    assert api.refusal("events/track", event) == (400, "BadParams")


def test_a_disallowed_event_name_answers_200_and_stores_nothing(sandbox, api):
    sandbox.tell("/project", {"disallowed_events": ["Secret"]})
    answer = api.post("events/track", {"userId": "u1", "eventName": "Secret"})

    assert answer.status_code == 200
    assert "is disallowed from tracking" in answer.json()["msg"]
    assert sandbox.shown()["totals"]["events"] == 0


def test_a_cart_replaces_the_cart_and_a_purchase_clears_it(sandbox, api):
    user = {"userId": "u1", "dataFields": {"city": "Oslo"}}
    api.post("commerce/updateCart", {"user": user, "items": [ITEM, {**ITEM, "id": "p2"}]})
    api.post("commerce/updateCart", {"user": user, "items": [ITEM]})
    assert sandbox.shown()["carts"] == {"u1": [ITEM]}

    purchase = {"id": "o-1", "user": user, "items": [ITEM], "total": 9.5}
    assert api.post("commerce/trackPurchase", purchase).json()["params"] == {"id": "o-1"}
    api.post("commerce/trackPurchase", {**purchase, "total": 10})
    state = sandbox.shown()
    assert state["carts"] == {}
    assert state["totals"]["purchases"] == 1
    assert state["totals"]["purchase_updates"] == 1
    assert state["purchases"][0]["total"] == 10
    assert state["users"][0]["dataFields"] == {"city": "Oslo"}


def test_an_empty_cart_empties_it_and_refuses_an_endless_purchase_id(sandbox, api):
    api.post("commerce/updateCart", {"user": {"userId": "u1"}, "items": [ITEM]})
    api.post("commerce/updateCart", {"user": {"userId": "u1"}, "items": []})
    purchase = {"id": "o" * 513, "user": {"userId": "u1"}, "items": [], "total": 0}

    assert sandbox.shown()["carts"] == {}
    assert api.refusal("commerce/trackPurchase", purchase) == (400, "BadParams")


# --- field types ----------------------------------------------------------------------------------


def test_strict_projects_refuse_another_type_than_the_first(sandbox, api):
    sandbox.tell("/project", {"strict_types": True})
    fields = {"age": 41, "score": 1.5, "name": "x", "since": "2024-01-01", "deep": {"ok": True}}
    api.post("users/update", {"userId": "u1", "dataFields": fields})
    answer = api.post("users/update", {"userId": "u1", "dataFields": {"age": "41", "score": 2}})

    assert (answer.status_code, answer.json()["code"]) == (400, "RequestFieldsTypesMismatched")
    assert answer.json()["params"]["validationErrors"] == {
        "age": {
            "incomingTypes": ["string", "keyword"],
            "expectedType": "long",
            "category": "user",
            "offendingValue": "41",
            "_type": "UnexpectedType",
        }
    }
    fitting = {"name": "2024-01-01", "score": 3, "since": "2024-01-01 10:00:00 +00:00"}
    assert api.post("users/update", {"userId": "u1", "dataFields": fitting}).status_code == 200
    nested = {"userId": "u1", "dataFields": {"deep": {"ok": "yes"}}}
    assert "deep.ok" in api.post("users/update", nested).json()["params"]["validationErrors"]


def test_event_fields_are_pinned_by_event_name_and_purchases_on_their_own(sandbox, api):
    sandbox.tell("/project", {"strict_types": True})
    event: dict[str, Any] = {"userId": "u1", "eventName": "a", "dataFields": {"n": 1}}
    api.post("events/track", event)
    other = {**event, "eventName": "b", "dataFields": {"n": "x"}}
    assert api.post("events/track", other).status_code == 200
    purchase: dict[str, Any] = {"user": {"userId": "u1"}, "items": [], "total": 1}
    purchase["dataFields"] = {"n": True}
    assert api.post("commerce/trackPurchase", purchase).status_code == 200

    wrong = {**event, "dataFields": {"n": "x"}}
    assert api.refusal("events/track", wrong) == (400, "RequestFieldsTypesMismatched")
    wrong = {**purchase, "dataFields": {"n": 1}}
    assert api.refusal("commerce/trackPurchase", wrong) == (400, "RequestFieldsTypesMismatched")


def test_lenient_projects_take_any_type(api):
    for value in (1, "x", [1], {"a": 1}):
        body = {"userId": "u1", "dataFields": {"f": value}}
        assert api.post("users/update", body).status_code == 200


def test_tells_the_pinned_types(api):
    fields = {
        "long": 1,
        "double": 1.5,
        "date": "2024-01-01T10:00:00.000Z",
        "no_date": "2024-01-01T10:00:00Z",
        "tags": ["a", None, []],
        "list": [{"x": 1}],
        "home_geo_location": {"lat": 1, "lon": 2},
        "none": None,
    }
    api.post("users/update", {"userId": "u1", "dataFields": fields})

    assert api.send("GET", "users/getFields").json()["fields"] == {
        "long": "long",
        "double": "double",
        "date": "date",
        "no_date": "string",
        "tags": "string",
        "list": "nested",
        "home_geo_location": "geo_location",
    }


def test_unwanted_new_fields_are_dropped_silently(sandbox, api):
    api.post("users/update", {"userId": "u1", "dataFields": {"known": 1}})
    body = {"userId": "u1", "dataFields": {"known": 2, "new": 1}}
    assert api.post("users/update", {**body, "createNewFields": False}).status_code == 200
    assert sandbox.shown()["users"][0]["dataFields"] == {"known": 2}

    sandbox.tell("/project", {"create_new_fields": False})
    answer = api.post("users/bulkUpdate", {"users": [body]})
    assert answer.json()["filteredOutFields"] == ["new"]
    answer = api.post("users/bulkUpdate", {"users": [body], "createNewFields": True})
    assert answer.json()["createdFields"] == ["new"]


# --- bulk -----------------------------------------------------------------------------------------


def test_a_bulk_update_counts_and_names_what_failed(sandbox, api):
    sandbox.tell("/project", {"type": "hybrid", "strict_types": True})
    api.post("users/update", {"userId": "u1", "dataFields": {"age": 1}})
    api.post("users/update", {"email": "taken@example.com"})
    api.post("users/forget", {"email": "gone@example.com"})
    users = [
        {"email": "New@Example.com", "dataFields": {"plan": "pro"}},
        {"email": "Broken"},
        {"userId": " "},
        {"email": "gone@example.com"},
        {"userId": "u1", "dataFields": {"email": "taken@example.com"}},
        {"userId": "u2", "dataFields": {"age": "old"}},
        {"dataFields": {}},
    ]
    answer = api.post("users/bulkUpdate", {"users": users})

    assert answer.status_code == 200
    assert answer.json() == {
        "successCount": 1,
        "failCount": 6,
        "invalidEmails": ["broken", "gone@example.com"],
        "invalidUserIds": [" ", "u1", "u2"],
        "failedUpdates": {
            "invalidEmails": ["broken"],
            "invalidUserIds": [" "],
            "notFoundEmails": [],
            "notFoundUserIds": [],
            "forgottenEmails": ["gone@example.com"],
            "forgottenUserIds": [],
            "conflictEmails": ["taken@example.com"],
            "conflictUserIds": [],
            "invalidDataEmails": [],
            "invalidDataUserIds": ["u2"],
        },
        "createdFields": ["plan"],
        "filteredOutFields": [],
    }


def test_a_mismatch_can_reject_the_whole_bulk_update(sandbox, api):
    api.post("users/update", {"userId": "u1", "dataFields": {"age": 1}})
    sandbox.tell("/project", {"strict_types": "batch"})
    users = [{"userId": "u2"}, {"userId": "u3", "dataFields": {"age": "x"}}]

    refusal = api.refusal("users/bulkUpdate", {"users": users})
    assert refusal == (400, "RequestFieldsTypesMismatched")
    assert sandbox.shown()["totals"]["users"] == 1


def test_bulk_events_tell_unknown_users_and_disallowed_names(sandbox, api):
    sandbox.tell("/project", {"type": "email", "disallowed_events": ["Secret"]})
    api.post("users/update", {"email": "a@example.com"})
    api.post("users/forget", {"email": "gone@example.com"})
    events = [
        {"email": "a@example.com", "eventName": "ok", "id": "1", "dataFields": {"n": 1}},
        {"email": "b@example.com", "eventName": "ok"},
        {"userId": "u1", "eventName": "ok"},
        {"email": "gone@example.com", "eventName": "ok"},
        {"email": "bad", "eventName": "ok"},
        {"email": "a@example.com", "eventName": "Secret"},
        {"email": "a@example.com", "eventName": "ok", "id": "not_valid"},
    ]
    answer = api.post("events/trackBulk", {"events": events}).json()

    assert (answer["successCount"], answer["failCount"]) == (2, 5)
    assert answer["invalidEmails"] == ["bad"]
    assert answer["invalidUserIds"] == ["u1"]
    assert answer["failedUpdates"] == {
        "invalidEmails": ["bad"],
        "invalidUserIds": [],
        "notFoundEmails": ["b@example.com"],
        "notFoundUserIds": ["u1"],
        "forgottenEmails": ["gone@example.com"],
        "forgottenUserIds": [],
    }
    assert answer["disallowedEventNames"] == ["Secret"]
    assert answer["createdFields"] == ["n"]
    assert [event["id"] for event in sandbox.shown()["events"]] == ["1"]


def test_refuses_more_than_1000_entries_and_more_than_4_mb(api):
    full = {"users": [{"userId": f"u{number}"} for number in range(1000)]}
    assert api.post("users/bulkUpdate", full).json()["successCount"] == 1000
    full["users"].append({"userId": "more"})
    assert api.refusal("users/bulkUpdate", full) == (400, "BatchTooLarge")

    large = {"users": [{"userId": "u", "dataFields": {"text": "x" * 4_000_000}}]}
    answer = api.post("users/bulkUpdate", large)
    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "text/html"


# --- keys -----------------------------------------------------------------------------------------


def test_wants_a_key(api):
    answer = api.post("users/update", {"userId": "u1"}, key=None)

    assert (answer.status_code, answer.json()["code"]) == (401, "BadApiKey")


@pytest.mark.parametrize("header", ["api_key", "Api_Key", "API-KEY"])
def test_takes_the_key_under_each_of_its_names(sandbox, session, header):
    url = f"{sandbox.iterable}/api/webhooks"

    assert session.get(url, headers={header: "k"}, timeout=10).json() == {"webhooks": []}


def test_key_types_decide_which_endpoints_work(sandbox, api):
    keys = {"srv": "server", "mob": "mobile", "web": "web", "ro": "read-only", "old": "revoked"}
    sandbox.tell("/keys", keys)
    device = {"token": "t", "platform": "GCM", "applicationName": "shop"}
    calls: dict[str, Any] = {
        "users/update": {"userId": "u1"},
        "users/bulkUpdate": {"users": []},
        "users/registerDeviceToken": {"userId": "u1", "device": device},
        "users/registerBrowserToken": {"userId": "u1", "browserToken": "b"},
    }
    statuses = {
        key: [api.post(path, body, key=key).status_code for path, body in calls.items()]
        for key in (*keys, "other")
    }

    assert statuses == {
        "srv": [200, 200, 401, 401],
        "mob": [200, 401, 200, 401],
        "web": [200, 401, 401, 200],
        "ro": [401, 401, 401, 401],
        "old": [401, 401, 401, 401],
        "other": [200, 200, 200, 200],
    }
    refused = api.post("users/registerDeviceToken", calls["users/registerDeviceToken"], key="srv")
    assert refused.json() == {
        "msg": "Disabled API key or insufficient privileges",
        "code": "BadApiKey",
        "params": {"endpoint": "/api/users/registerDeviceToken", "apiKeyType": "ServerSide"},
    }
    assert api.send("GET", "lists", "ro").json() == {"lists": []}
    assert api.send("GET", "webhooks", "ro").status_code == 401


def test_all_other_keys_can_be_revoked_and_one_brought_back(sandbox, api):
    sandbox.tell("/keys", {"*": "revoked"})
    assert api.post("users/update", {"userId": "u1"}).status_code == 401

    sandbox.tell("/keys", {"any-key": "server"})
    assert api.post("users/update", {"userId": "u1"}).status_code == 200


def test_never_shows_a_key(sandbox, api):
    api.post("users/update", {"userId": "u1"}, key="top-secret-key")

    assert sandbox.received()[0]["key"] == "any"
    assert "top-secret-key" not in str(sandbox.shown())


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "users/update"), ("POST", "nothing"), ("DELETE", "users/"), ("DELETE", "a/b/c")],
)
def test_unknown_addresses_answer_404(api, method, path):
    answer = api.send(method, path)

    assert (answer.status_code, answer.json()["code"]) == (404, "NotFound")


@pytest.mark.parametrize(
    ("path", "order"),
    [
        ("/project", {"type": "other"}),
        ("/project", {"strict_types": "maybe"}),
        ("/project", {"unknown": 1}),
        ("/keys", {"k": "admin"}),
        ("/keys", []),
        ("/journal", {"keep": -1}),
    ],
)
def test_refuses_orders_it_does_not_understand(sandbox, session, path, order):
    answer = session.post(sandbox.iterable + path, json=order, timeout=10)

    assert answer.status_code == 400
    assert answer.json()["success"] is False
