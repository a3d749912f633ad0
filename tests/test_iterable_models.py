"""The guard itself is guarded: it takes what Iterable takes and finds what Iterable refuses."""

from typing import Any

import pytest

from tests.iterable_models import MODELS, problems

ITEM = {"id": "p1", "name": "Hat", "price": 9.5, "quantity": 1}
GOOD: dict[str, dict[str, Any]] = {
    "users/update": {"email": "a@example.com", "dataFields": {"a": None}, "preferUserId": True},
    "users/bulkUpdate": {"users": [{"userId": "u1", "mergeNestedObjects": True}]},
    "users/updateEmail": {"currentUserId": "u1", "newEmail": "b@example.com"},
    "users/registerDeviceToken": {
        "userId": "u1",
        "device": {"token": "t", "platform": "APNS", "applicationName": "shop"},
    },
    "users/registerBrowserToken": {"userId": "u1", "browserToken": "t"},
    "users/disableDevice": {"token": "t"},
    "users/forget": {"email": "a@example.com"},
    "events/track": {
        "userId": "u1",
        "eventName": "A",
        "id": "m-1",
        "createdAt": 1,
        "dataFields": {},
    },
    "events/trackBulk": {"events": [{"userId": "u1", "eventName": "A"}]},
    "commerce/updateCart": {"user": {"userId": "u1"}, "items": []},
    "commerce/trackPurchase": {"user": {"userId": "u1"}, "items": [ITEM], "total": 9.5},
}
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("users/update", {"dataFields": {}}, "_schema"),
    ("users/update", {"email": "a@example.com", "datafields": {}}, "datafields"),
    ("users/update", {"userId": ""}, "userId"),
    ("users/update", {"userId": "u1", "preferUserId": "true"}, "preferUserId"),
    ("users/update", {"userId": "u1", "dataFields": []}, "dataFields"),
    ("users/bulkUpdate", {"users": [{"userId": "u1", "createNewFields": True}]}, "users"),
    ("users/updateEmail", {"newEmail": "b@example.com"}, "_schema"),
    ("users/updateEmail", {"currentEmail": "a@example.com"}, "newEmail"),
    ("users/forget", {"email": "a@example.com", "userId": "u1"}, "_schema"),
    ("users/registerDeviceToken", {"userId": "u1", "device": {"token": "t"}}, "device"),
    ("events/track", {"userId": "u1"}, "eventName"),
    ("events/track", {"userId": "u1", "eventName": "A", "id": "m_1"}, "id"),
    ("events/track", {"userId": "u1", "eventName": "A", "createdAt": 0}, "createdAt"),
    ("events/track", {"userId": "u1", "eventName": "A", "createdAt": 1.5}, "createdAt"),
    ("events/track", {"userId": "u1", "eventName": "A", "campaignId": 2**31}, "campaignId"),
    ("events/track", {"userId": "u1", "eventName": "A", "campaignId": "7"}, "campaignId"),
    ("commerce/updateCart", {"user": {"userId": "u1"}, "items": [{**ITEM, "id": 1}]}, "items"),
    ("commerce/updateCart", {"user": {}, "items": []}, "user"),
    ("commerce/trackPurchase", {"user": {"userId": "u1"}, "items": [], "total": True}, "total"),
    ("commerce/trackPurchase", {"user": {"userId": "u1"}, "items": [], "total": "9"}, "total"),
]


@pytest.mark.parametrize("endpoint", MODELS)
def test_takes_a_well_formed_request(endpoint):
    assert problems("POST", f"/api/{endpoint}", GOOD[endpoint]) == {}


@pytest.mark.parametrize(("endpoint", "body", "field"), BAD)
def test_names_the_field_that_iterable_would_refuse(endpoint, body, field):
    assert field in problems("POST", f"/api/{endpoint}", body)


@pytest.mark.parametrize(
    ("method", "path", "body", "well_formed"),
    [
        ("DELETE", "/api/users/a%40example.com", None, True),
        ("DELETE", "/api/users/byUserId/u%2F1", None, True),
        ("DELETE", "/api/users/a@example.com", None, False),
        ("DELETE", "/api/users/byUserId/u/1", None, False),
        ("DELETE", "/api/users/u1", {}, False),
        ("GET", "/api/users/update", None, False),
        ("POST", "/api/users/upsert", {}, False),
    ],
)
def test_judges_method_and_path(method, path, body, well_formed):
    assert (problems(method, path, body) == {}) is well_formed
