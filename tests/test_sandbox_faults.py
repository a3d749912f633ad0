"""The stand-ins fail to order."""

import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from app.sandbox.faults import Faults
from app.sandbox.iterable import LIMITS
from app.sandbox.journal import Arrivals
from app.sandbox.limits import Limiter
from app.sandbox.wire import Ending
from tests.sandbox_process import SEGMENT, Sandbox


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.headers["Api-Key"] = "key"
        yield session


def update(sandbox: Sandbox, session: requests.Session, user: str = "u1", timeout: float = 10):
    url = f"{sandbox.iterable}/api/users/update"
    return session.post(url, json={"userId": user}, timeout=timeout)


def statuses(sandbox: Sandbox, session: requests.Session, count: int) -> list[int]:
    return [update(sandbox, session).status_code for _ in range(count)]


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "BadParams"), (401, "BadApiKey"), (409, "Conflict"), (503, "GenericError")],
)
def test_fails_with_a_status_in_iterables_form(sandbox, session, status, code):
    sandbox.fail(status=status)
    answer = update(sandbox, session)

    assert answer.status_code == status
    assert answer.json() == {"msg": f"Failed by order with {status}", "code": code, "params": None}
    assert sandbox.shown()["totals"]["users"] == 0
    assert sandbox.received()[0]["fault"] == "status"


def test_says_429_as_iterable_does_with_retry_after_when_told(sandbox, session):
    sandbox.fail(status=429, retry_after=2.5)
    answer = update(sandbox, session)

    assert answer.headers["Retry-After"] == "2.5"
    assert answer.json() == {
        "msg": "Exceeded rate limit for endpoint: /api/users/update, project: 1",
        "code": "RateLimitExceeded",
        "params": {},
    }


def test_answers_with_a_body_to_order(sandbox, session):
    body = {"msg": "", "code": "UniqueFieldsLimitExceeded", "params": {"limit": 1000}}
    sandbox.fail(status=400, body=body)

    assert update(sandbox, session).json() == body


def test_fails_the_next_requests_only(sandbox, session):
    sandbox.fail(status=500, times=2)

    assert statuses(sandbox, session, 3) == [500, 500, 200]
    shown = requests.get(f"{sandbox.iterable}/faults", timeout=10).json()["faults"]
    assert shown == [{"status": 500, "times": 2, "left": 0, "hits": 2}]


def test_orders_can_be_cleared(sandbox, session):
    sandbox.fail(status=500)
    sandbox.heal()

    assert statuses(sandbox, session, 1) == [200]


def test_takes_several_orders_at_once(sandbox, session):
    sandbox.tell("/faults", [{"status": 500, "times": 1}, {"status": 503, "times": 1}])

    assert statuses(sandbox, session, 3) == [500, 503, 200]


def test_fails_a_share_of_the_requests_the_same_one_each_time(sandbox, session):
    runs = []
    for _ in range(2):
        sandbox.reset()
        sandbox.fail(status=500, share=0.3, seed=7)
        runs.append(statuses(sandbox, session, 100))

    assert runs[0] == runs[1]
    assert 15 < runs[0].count(500) < 45


@pytest.mark.parametrize("match", ["users/update$", '"userId": ?"u1"', "u1"])
def test_fails_what_matches_in_path_or_body(sandbox, session, match):
    sandbox.fail(status=500, match=match)
    other = session.get(f"{sandbox.iterable}/api/lists", timeout=10)

    assert update(sandbox, session).status_code == 500
    assert other.status_code == 200


def test_an_address_is_matched_as_text(sandbox, session):
    sandbox.fail(status=500, match="a+b@example.com")
    url = f"{sandbox.iterable}/api/users/update"

    assert session.post(url, json={"email": "a+b@example.com"}, timeout=10).status_code == 500
    assert session.post(url, json={"email": "b@example.com"}, timeout=10).status_code == 200


def test_a_sequence_runs_to_its_end(sandbox, session):
    sandbox.fail(
        {"status": 429, "times": 2},
        {"status": 200, "times": 1},
        {"status": 500, "times": 2},
        {"cut": True, "times": 1},
    )
    assert statuses(sandbox, session, 5) == [429, 429, 200, 500, 500]

    with pytest.raises(requests.ConnectionError):
        update(sandbox, session)
    assert statuses(sandbox, session, 2) == [200, 200]
    assert sandbox.received()[5]["status"] is None
    assert sandbox.received()[5]["fault"] == "cut"


def test_latency_delays_one_answer_and_no_other_connection(sandbox, session):
    sandbox.fail(latency=300, match="slow")
    begin = time.monotonic()
    assert update(sandbox, session, "slow").status_code == 200
    waited = time.monotonic() - begin
    begin = time.monotonic()
    update(sandbox, session, "quick")

    assert waited >= 0.3
    assert time.monotonic() - begin < 0.25


def test_latency_may_come_with_a_failure(sandbox, session):
    sandbox.tell("/faults", [{"latency": 100}, {"latency": 100, "status": 500}])
    begin = time.monotonic()

    assert update(sandbox, session).status_code == 500
    assert time.monotonic() - begin >= 0.2


def test_a_hanging_request_gets_no_answer_while_others_do(sandbox, session):
    sandbox.fail(hang=True, match="stuck")
    with pytest.raises(requests.Timeout):
        update(sandbox, session, "stuck", timeout=0.2)

    assert statuses(sandbox, session, 1) == [200]
    assert sandbox.received()[0]["fault"] == "hang"


@pytest.mark.parametrize("ending", [{"cut": True}, {"status": 500}])
def test_can_do_what_is_asked_and_fail_to_say_so(sandbox, session, ending):
    sandbox.fail(times=1, processed=True, **ending)
    try:
        assert update(sandbox, session).status_code == 500
    except requests.ConnectionError:
        assert "cut" in ending

    assert sandbox.shown()["totals"]["users"] == 1


def test_a_rate_holds_for_each_endpoint(sandbox, session):
    sandbox.fail(rate=3, retry_after=1)

    assert statuses(sandbox, session, 5) == [200, 200, 200, 429, 429]
    answer = session.get(f"{sandbox.iterable}/api/lists", timeout=10)
    assert answer.status_code == 200
    assert sandbox.received()[3]["fault"] == "rate limit"


def test_limits_hold_for_the_endpoints_named(sandbox, session):
    sandbox.fail(limits={"/api/users/update": 1})

    assert statuses(sandbox, session, 2) == [200, 429]
    codes = [session.get(f"{sandbox.iterable}/api/lists", timeout=10).status_code for _ in range(3)]
    assert codes == [200, 200, 200]


def test_published_limits_can_be_switched_on(sandbox, session):
    sandbox.fail(limits="published")
    url = f"{sandbox.iterable}/api/users/bulkUpdate"
    codes = [session.post(url, json={"users": []}, timeout=10).status_code for _ in range(7)]

    assert codes == [200] * 5 + [429] * 2
    assert statuses(sandbox, session, 7) == [200] * 7


def test_the_stand_in_segment_fails_too(sandbox, session):
    sandbox.fail(status=429, retry_after=1, partner=SEGMENT)
    answer = session.post(f"{sandbox.segment}/v1/batch", json={"batch": []}, timeout=10)

    assert answer.headers["Retry-After"] == "1"
    assert set(answer.json()) == {"code", "message"}
    sandbox.heal(SEGMENT)


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"status": 500, "cut": True},
        {"status": 99},
        {"share": 2, "status": 500},
        {"match": "(", "status": 500},
        {"body": {}, "cut": True},
        {"times": 1, "sequence": [{"status": 500}]},
        {"sequence": []},
        {"limits": "unpublished"},
        {"limits": {"users/update": 1}},
        {"unknown": 1, "status": 500},
        7,
    ],
)
def test_refuses_an_order_that_makes_no_sense(sandbox, order):
    answer = requests.post(f"{sandbox.iterable}/faults", json=order, timeout=10)

    assert answer.status_code == 400
    assert answer.json()["errors"]


# --- exact counting, with a clock of the test -----------------------------------------------------


def test_a_limit_holds_in_every_sliding_second():
    limiter = Limiter({"/a": [(2, 1.0)]})
    waits = [limiter.wait("/a", at) for at in (10.0, 10.9, 10.95, 11.0, 11.5, 11.9)]

    assert [math.isclose(wait, 0) for wait in waits] == [True, True, False, True, False, True]
    assert waits[2] == pytest.approx(0.05)


def test_all_limits_of_an_endpoint_hold():
    limiter = Limiter(LIMITS)
    taken = 0
    for second in range(400):
        taken += sum(limiter.wait("/api/users/forget", second * 2.0) == 0 for _ in range(4))

    assert taken == 1000
    assert limiter.wait("/api/users/forget", 86_400.0) == 0


def test_a_rate_of_nothing_lets_nothing_pass():
    assert Limiter({}, [(0, 1.0)]).wait("/a", 5.0) == 1.0


def test_the_busiest_second_is_found_wherever_it_begins():
    arrivals = Arrivals()
    for at in (10.0, 10.6, 10.7, 10.8, 11.1, 11.2, 11.65):
        arrivals.add(at)

    assert dict(arrivals.per_second) == {10: 4, 11: 3}
    assert arrivals.busiest_second == 4
    assert arrivals.busiest_sliding_second == 5


def test_counts_per_second_are_bounded():
    arrivals = Arrivals()
    for second in range(4000):
        arrivals.add(float(second))

    assert len(arrivals.per_second) == 3600


def test_a_step_that_does_not_match_waits_for_one_that_does():
    faults = Faults({})
    order: dict[str, Any] = {
        "sequence": [{"hang": True, "times": 1, "match": "b"}, {"status": 500}]
    }
    faults.add(order)
    verdicts = [faults.judge("/x", path, b"", 0.0) for path in ("/a", "/b", "/a")]

    assert [verdict.ending for verdict in verdicts] == [Ending.ANSWER, Ending.HANG, Ending.ANSWER]
    assert [verdict.status for verdict in verdicts] == [None, None, 500]
    assert [step["hits"] for step in faults.shown()[0]["sequence"]] == [1, 1]
