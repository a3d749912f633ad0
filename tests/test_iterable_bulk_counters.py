"""Bulk answers with counters: every entry gets the outcome that is its own."""

from collections import Counter
from typing import Any

import orjson
import pytest

from app.outbound.bulk import EVENTS, USERS, BulkEntry
from app.outbound.request import IterableRequest
from app.outcomes import Dead, Delivered, Retry
from tests.iterable_entries import ANNA, BEN, CARL, event, reasons, settled, user


def test_without_failures_all_are_delivered() -> None:
    outcomes = settled([user(ANNA), user(BEN)], {"successCount": 2, "failCount": 0})
    assert reasons(outcomes) == ["Delivered", "Delivered"]


@pytest.mark.parametrize(
    ("place", "outcome"),
    [
        ("failedUpdates.invalidEmails", "Dead invalid_email"),
        ("failedUpdates.invalidUserIds", "Dead invalid_user_id"),
        ("failedUpdates.notFoundEmails", "Retry unknown_user"),
        ("failedUpdates.notFoundUserIds", "Retry unknown_user"),
        ("failedUpdates.forgottenEmails", "Dead forgotten_user"),
        ("failedUpdates.forgottenUserIds", "Dead forgotten_user"),
        ("failedUpdates.conflictEmails", "Dead conflict"),
        ("failedUpdates.conflictUserIds", "Dead conflict"),
        ("failedUpdates.invalidDataEmails", "Retry invalid_data"),
        ("failedUpdates.invalidDataUserIds", "Retry invalid_data"),
        ("validEmailFailures", "Retry internal_error"),
        ("validUserIdFailures", "Retry internal_error"),
        ("invalidEmails", "Retry unexplained"),
        ("invalidUserIds", "Retry unexplained"),
    ],
)
def test_every_list_of_failures_finds_its_user(place: str, outcome: str) -> None:
    entries = [user(ANNA, "u1"), user(BEN, "u2"), user(CARL, "u3")]
    named = BEN.upper() if place.endswith(("Emails", "EmailFailures")) else "u2"
    group, _, name = place.rpartition(".")
    lists: Any = {group: {name: [named]}} if group else {name: [named]}
    outcomes = settled(entries, {"successCount": 2, "failCount": 1, **lists})
    assert reasons(outcomes) == ["Delivered", outcome, "Delivered"]


@pytest.mark.parametrize(
    ("lists", "outcome"),
    [
        ({"invalidEmails": [BEN]}, "Dead invalid_email"),
        ({"invalidUserIds": ["u2"]}, "Retry unknown_user"),
        ({"failedUpdates": {"notFoundEmails": [BEN]}, "invalidEmails": None}, "Retry unknown_user"),
    ],
)
def test_the_deprecated_lists_of_events_have_their_own_meaning(lists: Any, outcome: str) -> None:
    ben = BulkEntry(EVENTS, "POST", "/", {"email": BEN, "userId": "u2", "eventName": "Seen"})
    outcomes = settled([event("Seen", ANNA), ben], {"successCount": 1, "failCount": 1, **lists})
    assert reasons(outcomes) == ["Delivered", outcome]


def test_a_failure_without_a_reason_is_sent_alone_to_learn_it() -> None:
    outcomes = settled(
        [user(ANNA, n=1), user(BEN)],
        {"successCount": 1, "failCount": 1, "failedUpdates": {"invalidDataEmails": [ANNA]}},
    )
    assert isinstance(outcomes[0], Retry)
    assert outcomes[0].after == 0
    single = outcomes[0].instead
    assert isinstance(single, IterableRequest)
    assert (single.endpoint, single.path) == ("users/update", "/api/users/update")
    assert single.body == {"email": ANNA, "dataFields": {"n": 1}}


def test_an_identifier_may_match_data_fields_only() -> None:
    entries = [user(None, "u1", email="New@Example.com"), user(None, "u2")]
    outcomes = settled(
        entries,
        {
            "successCount": 1,
            "failCount": 1,
            "failedUpdates": {"conflictEmails": ["new@example.com"]},
        },
    )
    assert reasons(outcomes) == ["Dead conflict", "Delivered"]


def test_an_address_among_an_events_properties_is_no_identifier() -> None:
    entries = [event("Invited", ANNA, email=BEN), event("Seen", BEN)]
    outcomes = settled(
        entries, {"successCount": 1, "failCount": 1, "failedUpdates": {"notFoundEmails": [BEN]}}
    )
    assert reasons(outcomes) == ["Delivered", "Retry unknown_user"]


def test_a_list_that_repeats_a_precise_one_changes_nothing() -> None:
    outcomes = settled(
        [user(ANNA, "u1"), user(BEN)],
        {
            "successCount": 1,
            "failCount": 1,
            "invalidEmails": [ANNA],
            "invalidUserIds": ["u1"],
            "failedUpdates": {"forgottenUserIds": ["u1"], "forgottenEmails": [ANNA]},
        },
    )
    assert reasons(outcomes) == ["Dead forgotten_user", "Delivered"]


def test_one_of_two_with_the_same_identifier_failed_so_both_are_sent_apart() -> None:
    entries = [user(ANNA), user(None, "u1", email=ANNA), user(BEN)]
    answer = {"successCount": 2, "failCount": 1, "failedUpdates": {"conflictEmails": [ANNA]}}
    outcomes = settled(entries, answer)
    assert reasons(outcomes) == ["Retry unexplained", "Retry unexplained", "Delivered"]
    assert all(isinstance(o, Retry) and o.split and o.after == 0 for o in outcomes[:2])


def test_both_with_the_same_identifier_failed_when_it_is_listed_twice() -> None:
    entries = [user(ANNA), user(None, "u1", email=ANNA), user(BEN)]
    answer = {"successCount": 1, "failCount": 2, "failedUpdates": {"invalidEmails": [ANNA, ANNA]}}
    assert reasons(settled(entries, answer)) == [
        "Dead invalid_email",
        "Dead invalid_email",
        "Delivered",
    ]


def test_failures_that_no_list_explains_leave_nobody_delivered() -> None:
    entries = [user(ANNA), user(BEN), user(CARL)]
    answer = {"successCount": 1, "failCount": 2, "failedUpdates": {"invalidEmails": [ANNA]}}
    outcomes = settled(entries, answer)
    assert reasons(outcomes) == ["Dead invalid_email", "Retry unexplained", "Retry unexplained"]
    assert all(isinstance(o, Retry) and o.split for o in outcomes[1:])


def test_an_unknown_identifier_in_a_list_leaves_nobody_delivered() -> None:
    answer = {"successCount": 1, "failCount": 1, "failedUpdates": {"invalidEmails": ["x", 7]}}
    assert reasons(settled([user(ANNA), user(BEN)], answer)) == ["Retry unexplained"] * 2


def test_an_unexplained_failure_of_one_alone_is_asked_of_the_single_endpoint() -> None:
    (outcome,) = settled([event("Seen", ANNA)], {"successCount": 0, "failCount": 1})
    assert isinstance(outcome, Retry)
    assert outcome.instead is not None
    assert outcome.instead.endpoint == "events/track"


@pytest.mark.parametrize(
    ("answer", "delivered"),
    [
        ({"successCount": 1}, False),
        ({"successCount": 2}, True),
        ({"msg": "", "code": "Success"}, True),
        ([], True),
    ],
)
def test_a_missing_fail_count_is_taken_from_the_other(answer: Any, delivered: bool) -> None:
    outcomes = settled([user(ANNA), user(BEN)], answer)
    assert all(isinstance(o, Delivered) is delivered for o in outcomes)


@pytest.mark.parametrize("fail_count", [0, 1])
def test_events_of_a_disallowed_name_are_dead_whether_counted_or_not(fail_count: int) -> None:
    outcomes = settled(
        [event("Secret", ANNA), event("Seen", BEN)],
        {
            "successCount": 2 - fail_count,
            "failCount": fail_count,
            "disallowedEventNames": ["Secret"],
        },
    )
    assert reasons(outcomes) == ["Dead event_disallowed", "Delivered"]


def test_disallowed_names_do_not_hide_other_failures() -> None:
    outcomes = settled(
        [event("Secret", ANNA), event("Seen", BEN), event("Seen", CARL)],
        {"successCount": 0, "failCount": 3, "disallowedEventNames": ["Secret"]},
    )
    assert reasons(outcomes) == ["Dead event_disallowed", *["Retry unexplained"] * 2]


@pytest.mark.parametrize(
    ("names", "noticed"),
    [
        (["shoe"], [True, False, False]),
        (["project:::plan.price"], [False, True, False]),
        (["a.b"], [False, False, True]),
        (["plan.name"], [True, True, True]),  # nobody has it, so nobody is sure not to have lost
        ([], [False, False, False]),
    ],
)
def test_fields_that_were_filtered_out_are_noticed(names: list[str], noticed: list[bool]) -> None:
    entries = [user(ANNA, shoe=42), user(BEN, plan=[{"price": 1}]), user(CARL, **{"a.b": 1})]
    outcomes = settled(
        entries,
        {"successCount": 3, "failCount": 0, "filteredOutFields": names, "createdFields": ["x"]},
    )
    found = [isinstance(o, Delivered) and o.notice == "fields_filtered" for o in outcomes]
    assert found == noticed


def test_unchanged_users_are_delivered() -> None:
    answer = {"successCount": 1, "failCount": 0, "noOpEmails": [ANNA], "noOpUserIds": []}
    assert reasons(settled([user(ANNA)], answer)) == ["Delivered"]


def test_an_answer_tells_of_nobody_else_and_never_of_the_forgotten() -> None:
    entries = [user(ANNA), user(BEN), user(CARL)]
    failed = {"forgottenEmails": [ANNA], "invalidEmails": [BEN]}
    outcomes = settled(entries, {"successCount": 1, "failCount": 2, "failedUpdates": failed})
    shown = [
        o.answer.body if isinstance(o, Dead | Delivered) and o.answer else "" for o in outcomes
    ]
    assert orjson.loads(shown[1]) == {
        "successCount": 1,
        "failCount": 2,
        "failedUpdates": {"invalidEmails": [BEN]},
    }
    assert ANNA not in "".join(shown)


def test_refused_fields_come_back_with_a_bulk_success() -> None:
    repaired = BulkEntry(USERS, "POST", "/", {"email": ANNA}, refused={"age": "old"})
    (outcome,) = settled([repaired], {"successCount": 1, "failCount": 0})
    assert isinstance(outcome, Delivered)
    assert outcome.refused == {"age": "old"}


def test_of_a_thousand_37_fail_in_eight_ways_and_963_are_delivered() -> None:
    lists = {  # list: how many of it, and which identifier names them
        "forgottenEmails": 5,
        "forgottenUserIds": 5,
        "invalidEmails": 4,
        "invalidUserIds": 4,
        "conflictEmails": 6,
        "notFoundUserIds": 5,
        "invalidDataUserIds": 6,
    }
    entries = [user(f"P{i}@Example.com", f"u{i}", n=i) for i in range(998)]
    # Two more that only their dataFields give away.
    entries += [user(None, f"x{i}", email=f"taken{i}@example.com") for i in range(2)]
    failed: dict[str, list[str]] = {}
    expected: Counter[str] = Counter()
    victims = iter(range(0, 998, 25))
    for name, count in lists.items():
        chosen = [next(victims) for _ in range(count)]
        email = name.endswith("Emails")
        failed[name] = [f"p{i}@example.com" if email else f"u{i}" for i in chosen]
    failed["conflictEmails"] += ["taken0@example.com", "taken1@example.com"]
    expected.update(
        {
            "Dead forgotten_user": 10,
            "Dead invalid_email": 4,
            "Dead invalid_user_id": 4,
            "Dead conflict": 8,
            "Retry unknown_user": 5,
            "Retry invalid_data": 6,
            "Delivered": 963,
        }
    )
    answer = {"successCount": 963, "failCount": 37, "failedUpdates": failed}
    outcomes = settled(entries, answer)
    assert Counter(reasons(outcomes)) == expected
    assert sum(not isinstance(o, Delivered) for o in outcomes) == 37
