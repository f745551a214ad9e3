"""The judge of chaos runs sees what it is there to see: one push, spoiled in one way at a time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.case import Case
from tests.chaos.deaths import NONE_VALID
from tests.chaos.history import Changed, Held, Played
from tests.chaos.population import SANDBOX
from tests.chaos.pushing import Limit, Window
from tests.chaos.services import CUT_SHORT, check_services
from tests.chaos.world import Killed, World


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    world = World(tmp_path)
    yield Case(world)
    world.close()


def test_one_arrival_of_an_accepted_push_is_in_order(case: Case) -> None:
    assert case.findings() == []


def test_an_accepted_recipient_without_an_arrival_is_lost(case: Case) -> None:
    case.record.arrivals.clear()
    assert case.findings() == ["lost"]


def test_a_device_that_stayed_and_is_in_no_batch_is_lost(case: Case) -> None:
    case.record.arrivals.clear()
    case.record.attempts.clear()
    case.record.claims.clear()
    case.push.planned = case.push.settled = 0
    case.push.ledger = {}
    assert case.findings() == ["lost"]


def test_an_accepted_push_that_is_not_stored_is_lost(case: Case) -> None:
    case.record.pushes.clear()
    assert "lost" in case.findings()


def test_a_ledger_that_does_not_sum_is_found(case: Case) -> None:
    case.push.ledger["planned"] = 2
    assert case.findings() == ["unsettled"]


def test_a_second_arrival_of_a_living_sender_is_unexplained(case: Case) -> None:
    case.second_attempt()
    assert "unexplained" in case.findings()


def test_a_second_arrival_after_the_first_sender_was_killed_is_explained(case: Case) -> None:
    case.second_attempt()
    case.world.lives[0].killed = True
    case.world.lives[0].ended_at = 100.4
    assert case.findings() == []


def test_a_kill_of_redis_explains_no_second_arrival(case: Case) -> None:
    case.second_attempt()
    case.world.kills.append(Killed(100.2, "redis", "", 101.0))
    assert "unexplained" in case.findings()


def test_a_second_arrival_under_at_most_once_is_never_explained(case: Case) -> None:
    case.second_attempt()
    case.world.lives[0].killed = True
    case.world.lives[0].ended_at = 100.4
    case.sent.push.at_most_once = True
    assert case.findings() == ["unexplained"]


def test_an_arrival_that_is_recorded_as_refused_is_unexplained(case: Case) -> None:
    case.attempt.ends[0] = ("retry", "ServiceUnavailable")
    assert "unexplained" in case.findings()


def test_an_arrival_after_the_expiry_is_late(case: Case) -> None:
    case.sent.expire_at = 99
    assert case.findings() == ["late"]


def test_an_arrival_long_after_a_confirmed_cancel_is_late(case: Case) -> None:
    case.sent.cancelled_at = 90.0
    case.push.state = "cancelled"
    assert case.findings() == ["late"]


def test_a_device_that_left_before_the_push_must_not_get_it(case: Case) -> None:
    case.history.changes["d1"].append(Changed("remove", 50.0, 51.0))
    case.record.devices.clear()
    assert case.findings() == ["unexplained"]


def test_a_cancel_confirmed_before_the_push_was_done_lasts(case: Case) -> None:
    case.sent.cancelled_at = 100.2
    assert case.findings() == ["unsettled"]


def test_an_arrival_during_a_pause_is_late(case: Case) -> None:
    case.sent.held.append(Held(97.0, 98.0, 101.0, 101.1))
    assert case.findings() == ["late"]


def test_an_arrival_just_after_the_pause_was_confirmed_is_in_order(case: Case) -> None:
    case.sent.held.append(Held(99.0, 99.5, 101.0, 101.1))
    assert case.findings() == []


def test_an_arrival_before_its_window_opened_is_late(case: Case) -> None:
    case.device.timezone = "UTC"
    case.sent.push.window, case.sent.window_opens_at = Window(5, False), 105
    assert case.findings() == ["late"]


def test_an_arrival_where_the_window_opens_in_hours_is_late(case: Case) -> None:
    case.device.timezone = "Asia/Kolkata"
    case.sent.push.window, case.sent.window_opens_at = Window(5, False), 90
    assert case.findings() == ["late"]


def test_an_unknown_outcome_without_a_storm_is_unexplained(case: Case) -> None:
    case.unknown()
    assert "unexplained" in case.findings()


def test_an_unknown_outcome_after_a_storm_that_loses_answers_is_explained(case: Case) -> None:
    case.unknown()
    case.history.storms.append(Played("closed its side", "apns", True, 90.0, 95.0))
    assert case.findings() == []


def test_what_was_rendered_for_another_device_is_unexplained(case: Case) -> None:
    case.sent.push.templated = True
    assert case.findings() == ["unexplained"]
    case.record.arrivals[0].who = "d1"
    assert case.findings() == []


def test_a_good_token_that_is_failing_is_unexplained(case: Case) -> None:
    case.record.devices["d1"].state = "failing"
    assert case.findings() == ["unexplained"]


def test_a_token_that_died_may_end_as_dead_and_buries_its_device(case: Case) -> None:
    case.died()
    assert case.findings() == []


def test_a_dead_answer_about_a_token_that_did_not_die_is_found(case: Case) -> None:
    case.died()
    case.history.changes["d1"].pop()
    assert case.findings() == ["lost", "unexplained"]


def test_a_device_that_outlives_the_proof_of_its_death_is_unexplained(case: Case) -> None:
    case.died()
    case.record.devices["d1"].state = "active"
    assert case.findings() == ["unexplained"]


def test_a_token_of_hms_that_died_may_make_its_device_failing(case: Case) -> None:
    case.at("hms", "hms-1")
    case.died()
    case.attempt.ends[0] = ("dead", NONE_VALID)
    case.record.devices["d1"].state, case.record.devices["d1"].failing_reason = "failing", NONE_VALID
    assert case.findings() == []


def test_a_lost_answer_of_hms_leaves_all_its_tokens_in_doubt(case: Case) -> None:
    case.many(3)
    case.at_hms_without_an_answer()
    assert case.findings() == []
    case.history.storms.clear()
    assert "unexplained" in case.findings()


def test_a_token_that_was_registered_after_it_died_stays_alive(case: Case) -> None:
    case.died()
    case.history.changes["d1"][-1].proof = "before"
    assert case.findings() == ["unexplained"]
    case.record.devices["d1"].state = "active"
    assert case.findings() == []


def test_a_device_moved_to_an_environment_that_is_not_its_own_is_unexplained(case: Case) -> None:
    case.record.devices["d1"].environment = "sandbox"
    assert case.findings() == ["unexplained"]
    case.rename(SANDBOX + "aa" * 28)
    assert case.findings() == []


def test_more_than_the_pace_of_a_push_in_a_second_is_late(case: Case) -> None:
    case.sent.push.max_rate = 1
    case.many(20)
    assert set(case.findings()) == {"late"}


def test_two_within_the_interval_of_a_limit_of_one_are_late(case: Case) -> None:
    case.sent.push.limit = Limit(True, 1, 20_000)
    case.another_push(at=110.0)
    assert case.findings() == ["late"]


def test_two_of_a_limit_of_one_with_its_interval_between_them_are_in_order(case: Case) -> None:
    case.sent.push.limit = Limit(True, 1, 20_000)
    case.another_push(at=125.0)
    assert case.findings() == []


def test_what_a_limit_dropped_though_no_other_push_used_it_is_lost(case: Case) -> None:
    case.sent.push.limit = Limit(True, 1, 20_000)
    case.attempt.ends[0] = ("dropped", "RateLimited")
    case.push.ledger = {"planned": 1, "dropped": 1}
    case.record.arrivals.clear()
    assert case.findings() == ["lost"]


def test_a_repetition_that_was_not_told_to_be_one_is_unexplained(case: Case) -> None:
    case.sent.told_twice = '{"result":{"uid":"p1"}}'
    assert case.findings() == ["unexplained"]


def test_a_credential_that_stays_paused_is_unsettled(case: Case) -> None:
    case.record.pauses.append("chaos-apns : ExpiredProviderToken")
    assert case.findings() == ["unsettled"]


def test_clients_that_break_the_protocol_are_found() -> None:
    clean = {"protocol_errors": 0, "streams_over_limit": 0, "duplicate_deliveries": 0, "newest_protocol_errors": []}
    assert check_services({"apns": clean, "fcm": clean | {"duplicate_deliveries": 3}}) == []
    assert [each.kind for each in check_services({"apns": clean | {"duplicate_deliveries": 1}})] == ["unexplained"]
    assert [each.kind for each in check_services({"webpush": clean | {"undecryptable": 1}})] == ["unexplained"]
    broken = clean | {"protocol_errors": 1, "newest_protocol_errors": [CUT_SHORT + " (received 0 bytes)"]}
    assert check_services({"hms": broken}) == []
    broken["newest_protocol_errors"] = ["LocalProtocolError"]
    assert [each.kind for each in check_services({"hms": broken})] == ["unexplained"]
    assert [each.kind for each in check_services({"fcm": clean | {"streams_over_limit": 1}})] == ["unexplained"]
