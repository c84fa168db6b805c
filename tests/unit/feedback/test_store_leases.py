"""Leases: who gets what, for how long, and what becomes of answers that come late; on both engines."""

from collections import Counter

import pytest
from sqlalchemy import select, update

from instructloop.core.errors import ConfigError, DataError
from instructloop.feedback import audit
from instructloop.feedback.assignment import Lease, expire, heartbeat, next_lease, release, skip
from instructloop.feedback.database import Database
from instructloop.feedback.drafts import load_draft, save_draft
from instructloop.feedback.gold import add_gold, set_active
from instructloop.feedback.queues import NewTask, add_tasks, create_queue, queues, set_queue_state
from instructloop.feedback.reconcile import reconcile
from instructloop.feedback.records import clear_prompt
from instructloop.feedback.refusals import NotEditableError, StaleDraftError, UnknownTaskError
from instructloop.feedback.schema import Assignment, GoldResult, Labeler, PromptRow, Submission, Task
from instructloop.feedback.submissions import submit
from instructloop.testing.feedback import add_labeler, any_answer, prompt_flags, ranking, rating, seed_queue

T0 = 1_800_000_000_000
MINUTE = 60_000


def _lease(db: Database, labeler: str, queue: str, now: int = T0) -> Lease:
    lease = next_lease(db, labeler, queue, now=now)
    assert lease is not None
    return lease


def _task(db: Database, task_id: str) -> Task:
    with db.read() as session:
        return session.get_one(Task, task_id)


def test_a_second_tab_resumes_the_task_of_the_first(database: Database) -> None:
    queue = seed_queue(database, prompts=3)
    labeler = add_labeler(database)
    first, second = _lease(database, labeler, queue.queue_id), _lease(database, labeler, queue.queue_id, T0 + 5)
    assert (first.assignment_id, first.idem_key, first.display_order) == (second.assignment_id, second.idem_key, second.display_order)
    assert (first.resumed, second.resumed) == (False, True)
    assert sorted(first.display_order) == list(range(6))


def test_a_task_goes_to_as_many_labelers_as_it_wants_and_no_more(database: Database) -> None:
    queue = seed_queue(database, prompts=1, overlap=2)
    leases = [next_lease(database, add_labeler(database, f"L{n}"), queue.queue_id, now=T0) for n in range(4)]
    assert [lease is not None for lease in leases] == [True, True, False, False]


def test_the_most_urgent_task_comes_first_then_the_oldest(database: Database) -> None:
    queue = seed_queue(database, kind="demonstration", prompts=2)
    (urgent,) = add_tasks(database, queue.queue_id, [NewTask(prompt_id=queue.prompt_ids[1], priority=5)])
    labelers = [add_labeler(database, f"L{n}") for n in range(3)]
    assert [_lease(database, labeler, queue.queue_id).task_id for labeler in labelers] == [urgent, *queue.task_ids]


def test_a_task_that_turned_urgent_overtakes_those_a_labeler_would_come_to_next(database: Database) -> None:
    queue = seed_queue(database, kind="demonstration", prompts=3)
    labeler = add_labeler(database)
    lease = _lease(database, labeler, queue.queue_id)
    submit(database, lease.assignment_id, labeler, lease.idem_key, any_answer("demonstration", 0), now=T0)
    (urgent,) = add_tasks(database, queue.queue_id, [NewTask(prompt_id=queue.prompt_ids[0], priority=1)])
    assert _lease(database, labeler, queue.queue_id).task_id == urgent


def test_a_task_freed_behind_a_labeler_is_still_found(database: Database) -> None:
    queue = seed_queue(database, kind="demonstration", prompts=2)
    slow, quick = add_labeler(database, "L1"), add_labeler(database, "L2")
    held = _lease(database, slow, queue.queue_id)
    lease = _lease(database, quick, queue.queue_id)
    submit(database, lease.assignment_id, quick, lease.idem_key, any_answer("demonstration", 0), now=T0)
    assert next_lease(database, quick, queue.queue_id, now=T0) is None
    assert _lease(database, quick, queue.queue_id, T0 + 11 * MINUTE).task_id == held.task_id


@pytest.mark.parametrize(
    ("change", "gets"), [({"state": "paused"}, False), ({"state": "applicant"}, False), ({"cohort": "heldout"}, False), ({}, True)]
)
def test_only_qualified_labelers_of_the_queues_cohorts_get_work(database: Database, change: dict[str, str], gets: bool) -> None:
    queue = seed_queue(database, prompts=1, cohorts=("training", "researcher"))
    labeler = add_labeler(database, **{"cohort": "training", "state": "qualified"} | change)
    assert (next_lease(database, labeler, queue.queue_id) is not None) == gets


def test_a_paused_queue_gives_out_nothing_but_takes_what_is_out(database: Database) -> None:
    queue = seed_queue(database, prompts=2)
    working, waiting = add_labeler(database, "L1"), add_labeler(database, "L2")
    lease = _lease(database, working, queue.queue_id)
    set_queue_state(database, queue.queue_id, "paused")
    assert next_lease(database, waiting, queue.queue_id) is None
    assert _lease(database, working, queue.queue_id).assignment_id == lease.assignment_id
    assert not submit(database, lease.assignment_id, working, lease.idem_key, any_answer("rank", 6)).surplus


def test_who_opts_out_of_a_category_is_never_given_it(database: Database) -> None:
    queue = seed_queue(database, kind="demonstration", prompts=1)
    add_tasks(database, queue.queue_id, [NewTask(prompt_id=queue.prompt_ids[0], sensitive=("violent",), priority=9)])
    sensitive, other = add_labeler(database, "L1"), add_labeler(database, "L2")
    with database.write() as session:
        session.get_one(Labeler, sensitive).preferences = {"opt_out": ["violent", "sexual"]}
    assert _lease(database, sensitive, queue.queue_id).task_id == queue.task_ids[0]
    assert _lease(database, other, queue.queue_id).task_id != queue.task_ids[0]


def test_the_prompts_own_flags_make_a_task_sensitive(database: Database) -> None:
    queue = seed_queue(database, kind="demonstration", prompts=1)
    with database.write() as session:
        session.execute(update(PromptRow).values(meta={"flags": {"asks_abuse": "yes", "asks_sexual": "no"}}))
    (task,) = add_tasks(database, queue.queue_id, [NewTask(prompt_id=queue.prompt_ids[0], sensitive=("violent",))])
    assert _task(database, task).sensitive == ",abuse,violent,"


def test_an_expired_lease_goes_to_somebody_else_and_the_late_answer_is_kept_as_surplus(database: Database) -> None:
    queue = seed_queue(database, prompts=1)
    late, other = add_labeler(database, "L1"), add_labeler(database, "L2")
    first = _lease(database, late, queue.queue_id)
    assert next_lease(database, other, queue.queue_id, now=T0 + 9 * MINUTE) is None
    second = _lease(database, other, queue.queue_id, T0 + 10 * MINUTE)
    assert second.task_id == first.task_id
    in_time = submit(database, second.assignment_id, other, second.idem_key, any_answer("rank", 6), now=T0 + 11 * MINUTE)
    receipt = submit(database, first.assignment_id, late, first.idem_key, any_answer("rank", 6), now=T0 + 12 * MINUTE)
    assert (in_time.surplus, receipt.surplus) == (False, True)
    task = _task(database, first.task_id)
    assert (task.taken, task.done, task.state) == (1, 1, "done")
    with database.read() as session:
        assert sorted(session.scalars(select(Submission.surplus))) == [False, True]


def test_a_late_answer_counts_while_the_slot_is_free(database: Database) -> None:
    queue = seed_queue(database, prompts=1)
    labeler = add_labeler(database)
    lease = _lease(database, labeler, queue.queue_id)
    assert expire(database, T0 + 20 * MINUTE) == 1
    assert _task(database, lease.task_id).taken == 0
    assert not submit(database, lease.assignment_id, labeler, lease.idem_key, any_answer("rank", 6), now=T0 + 30 * MINUTE).surplus
    assert _task(database, lease.task_id).done == 1


def test_after_lunch_a_labeler_finds_the_same_task_with_its_draft(database: Database) -> None:
    queue = seed_queue(database, prompts=3)
    labeler = add_labeler(database)
    lease = _lease(database, labeler, queue.queue_id)
    save_draft(database, lease.assignment_id, labeler, {"tiers": {"A": 1}}, 0, now=T0)
    expire(database, T0 + 60 * MINUTE)
    again = _lease(database, labeler, queue.queue_id, T0 + 61 * MINUTE)
    assert (again.assignment_id, again.idem_key, again.resumed) == (lease.assignment_id, lease.idem_key, True)
    assert load_draft(database, again.assignment_id, labeler) == ({"tiers": {"A": 1}}, 1)


def test_a_heartbeat_extends_a_lease_up_to_the_longest(database: Database) -> None:
    queue = seed_queue(database, prompts=1, settings={"longest_lease_minutes": 30})
    labeler = add_labeler(database)
    lease = _lease(database, labeler, queue.queue_id)
    assert lease.expires_at == T0 + 10 * MINUTE
    beats = [heartbeat(database, lease.assignment_id, labeler, active_ms=1000, now=T0 + minute * MINUTE) for minute in (5, 15, 25, 29)]
    assert beats == [T0 + 15 * MINUTE, T0 + 25 * MINUTE, T0 + 30 * MINUTE, T0 + 30 * MINUTE]


def test_a_heartbeat_takes_up_an_expired_lease_unless_somebody_has_the_task(database: Database) -> None:
    queue = seed_queue(database, prompts=1)
    labeler, other = add_labeler(database, "L1"), add_labeler(database, "L2")
    lease = _lease(database, labeler, queue.queue_id)
    expire(database, T0 + 11 * MINUTE)
    assert heartbeat(database, lease.assignment_id, labeler, now=T0 + 12 * MINUTE) == T0 + 22 * MINUTE
    expire(database, T0 + 23 * MINUTE)
    _lease(database, other, queue.queue_id, T0 + 23 * MINUTE)
    assert heartbeat(database, lease.assignment_id, labeler, now=T0 + 24 * MINUTE) == T0 + 22 * MINUTE  # over
    assert _task(database, lease.task_id).taken == 1


def test_a_lease_lasts_three_times_the_median_time_of_the_queue(database: Database) -> None:
    queue = seed_queue(database, prompts=4, overlap=1)
    labeler = add_labeler(database)
    for minutes in (4, 20, 6):
        lease = _lease(database, labeler, queue.queue_id)
        submit(database, lease.assignment_id, labeler, lease.idem_key, any_answer("rank", 6), wall_ms=minutes * MINUTE, now=T0)
    assert _lease(database, labeler, queue.queue_id).expires_at == T0 + 3 * 6 * MINUTE


def test_a_skipped_task_goes_to_others_and_never_comes_back(database: Database) -> None:
    queue = seed_queue(database, prompts=1)
    labeler, other = add_labeler(database, "L1"), add_labeler(database, "L2")
    lease = _lease(database, labeler, queue.queue_id)
    skip(database, lease.assignment_id, labeler, "cannot_judge", "no law degree")
    skip(database, lease.assignment_id, labeler, "cannot_judge")
    assert next_lease(database, labeler, queue.queue_id) is None
    assert _lease(database, other, queue.queue_id).task_id == lease.task_id
    with pytest.raises(DataError, match="reason"):
        skip(database, lease.assignment_id, labeler, "because")


def test_an_answered_task_cannot_be_skipped_any_more(database: Database) -> None:
    queue = seed_queue(database, prompts=1)
    labeler = add_labeler(database)
    lease = _lease(database, labeler, queue.queue_id)
    submit(database, lease.assignment_id, labeler, lease.idem_key, any_answer("rank", 6))
    with pytest.raises(NotEditableError):
        skip(database, lease.assignment_id, labeler, "other")


def test_an_answer_after_a_skip_is_not_lost(database: Database) -> None:
    queue = seed_queue(database, prompts=1)
    labeler = add_labeler(database)
    lease = _lease(database, labeler, queue.queue_id)
    skip(database, lease.assignment_id, labeler, "other")
    assert not submit(database, lease.assignment_id, labeler, lease.idem_key, any_answer("rank", 6)).surplus
    assert _task(database, lease.task_id).done == 1


def test_personal_information_as_a_reason_quarantines_the_prompt_for_everybody(database: Database) -> None:
    queue = seed_queue(database, prompts=1, overlap=3)
    labeler, other, third = (add_labeler(database, code) for code in ("L1", "L2", "L3"))
    lease, held = _lease(database, labeler, queue.queue_id), _lease(database, other, queue.queue_id)
    skip(database, lease.assignment_id, labeler, "pii")
    assert next_lease(database, third, queue.queue_id) is None
    assert next_lease(database, other, queue.queue_id) is None  # taken away from who had it open
    assert submit(database, held.assignment_id, other, held.idem_key, any_answer("rank", 6)).surplus  # but not thrown away
    with database.read() as session:
        assert session.get_one(PromptRow, queue.prompt_ids[0]).pii_status == "quarantined"
    with pytest.raises(DataError, match="quarantined"):
        add_tasks(database, queue.queue_id, [NewTask(prompt_id=queue.prompt_ids[0], completion_ids=queue.completions[0])])
    with database.write() as session:
        clear_prompt(session, queue.prompt_ids[0], status="redacted")
    assert _lease(database, third, queue.queue_id).task_id == lease.task_id


def test_the_flag_contains_personal_information_quarantines_at_once(database: Database) -> None:
    queue = seed_queue(database, kind="rate", prompts=1, k=1, overlap=2)
    labeler = add_labeler(database)
    lease = _lease(database, labeler, queue.queue_id)
    submit(database, lease.assignment_id, labeler, lease.idem_key, rating(5, flags=prompt_flags(pii="yes")))
    with database.read() as session:
        assert session.get_one(PromptRow, queue.prompt_ids[0]).pii_status == "quarantined"
    assert audit.head(database)[0] == 1
    assert next_lease(database, add_labeler(database, "L2"), queue.queue_id) is None


def test_a_task_given_back_comes_again_last(database: Database) -> None:
    queue = seed_queue(database, prompts=2)
    labeler = add_labeler(database)
    lease = _lease(database, labeler, queue.queue_id)
    release(database, lease.assignment_id, labeler, labeler_id=labeler)
    release(database, lease.assignment_id, labeler, labeler_id=labeler)
    second = _lease(database, labeler, queue.queue_id)
    assert second.task_id != lease.task_id
    submit(database, second.assignment_id, labeler, second.idem_key, any_answer("rank", 6))
    assert _lease(database, labeler, queue.queue_id).assignment_id == lease.assignment_id


def test_an_admins_release_is_written_into_the_audit_log_and_strangers_release_nothing(database: Database) -> None:
    queue = seed_queue(database, prompts=1)
    labeler, other = add_labeler(database, "L1"), add_labeler(database, "L2")
    lease = _lease(database, labeler, queue.queue_id)
    with pytest.raises(UnknownTaskError):
        release(database, lease.assignment_id, other, labeler_id=other)
    release(database, lease.assignment_id, "admin-1")
    assert audit.head(database)[0] == 1
    assert _lease(database, other, queue.queue_id).task_id == lease.task_id


def test_others_tasks_do_not_exist_for_a_labeler(database: Database) -> None:
    queue = seed_queue(database, prompts=1)
    owner, other = add_labeler(database, "L1"), add_labeler(database, "L2")
    lease = _lease(database, owner, queue.queue_id)
    answer = any_answer("rank", 6)
    for call in (
        lambda: submit(database, lease.assignment_id, other, lease.idem_key, answer),
        lambda: save_draft(database, lease.assignment_id, other, {}, 0),
        lambda: load_draft(database, lease.assignment_id, other),
        lambda: heartbeat(database, lease.assignment_id, other),
        lambda: skip(database, lease.assignment_id, other, "other"),
        lambda: next_lease(database, other, "no such queue"),
        lambda: next_lease(database, "nobody", queue.queue_id),
    ):
        with pytest.raises(UnknownTaskError):
            call()


def test_a_stale_tab_is_told_instead_of_overwriting(database: Database) -> None:
    queue = seed_queue(database, prompts=1)
    labeler = add_labeler(database)
    lease = _lease(database, labeler, queue.queue_id)
    assert save_draft(database, lease.assignment_id, labeler, {"n": 1}, 0).rev == 1
    assert save_draft(database, lease.assignment_id, labeler, {"n": 1}, 0).rev == 1  # the reply was lost, it came again
    assert save_draft(database, lease.assignment_id, labeler, {"n": 2}, 1).rev == 2
    with pytest.raises(StaleDraftError) as caught:
        save_draft(database, lease.assignment_id, labeler, {"n": 9}, 1)
    assert caught.value.current_rev == 2
    submit(database, lease.assignment_id, labeler, lease.idem_key, any_answer("rank", 6))
    with pytest.raises(StaleDraftError):
        save_draft(database, lease.assignment_id, labeler, {"n": 3}, 2)
    with pytest.raises(DataError, match="draft: is longer"):
        save_draft(database, lease.assignment_id, labeler, {"text": "x" * 600_000}, 3)


def test_two_outputs_stand_on_either_side_equally_often(database: Database) -> None:
    queue = seed_queue(database, kind="pairwise", prompts=9)
    labeler = add_labeler(database)
    left = []
    for _ in range(9):
        lease = _lease(database, labeler, queue.queue_id)
        left.append(lease.display_order[0])
        submit(database, lease.assignment_id, labeler, lease.idem_key, any_answer("pairwise", 2))
    assert abs(sum(left) - 4.5) == 0.5


def test_the_shown_order_is_uniform_over_letters(database: Database) -> None:
    queue = seed_queue(database, kind="rank", k=3, prompts=60)
    labeler = add_labeler(database)
    seen: Counter[tuple[int, ...]] = Counter()
    for _ in range(60):
        lease = _lease(database, labeler, queue.queue_id)
        seen[lease.display_order] += 1
        submit(database, lease.assignment_id, labeler, lease.idem_key, ranking(1, 2, 3))
    assert len(seen) == 6  # a given order is missing with probability (5/6)^60 < 2e-5
    assert max(seen.values()) < 30


def test_gold_items_come_at_their_rate_look_like_any_task_and_are_scored_on_submission(database: Database) -> None:
    queue = seed_queue(database, kind="pairwise", prompts=40, gold_rate=0.2, settings={"seed": 5})
    gold = add_gold(database, kind="pairwise", expected={"winner": "1"}, k=2)
    pairs = [NewTask(prompt_id=p, completion_ids=c, gold_id=gold) for p, c in zip(queue.prompt_ids, queue.completions, strict=True)]
    add_tasks(database, queue.queue_id, pairs)
    labeler = add_labeler(database)
    shown = 0
    while lease := next_lease(database, labeler, queue.queue_id):
        submit(database, lease.assignment_id, labeler, lease.idem_key, any_answer("pairwise", 2))
        shown += 1
    with database.read() as session:
        results = session.scalars(select(GoldResult)).all()
        assert shown == 40 + len(results)
        assert {(result.score, result.passed) for result in results} == {(1.0, True)}
        assert 2 <= len(results) <= 20  # binomial(n about 50, 0.2): outside with probability < 0.002, and the seed is fixed
        assert session.scalars(select(Task.taken).where(Task.gold_id.is_not(None), Task.taken > 0)).all() == []


def test_a_retired_gold_item_is_not_given_out(database: Database) -> None:
    queue = seed_queue(database, kind="pairwise", prompts=1, gold_rate=1.0)
    gold = add_gold(database, kind="pairwise", expected={"winner": "1"}, k=2)
    add_tasks(database, queue.queue_id, [NewTask(prompt_id=queue.prompt_ids[0], completion_ids=queue.completions[0], gold_id=gold)])
    set_active(database, gold, active=False)
    assert _lease(database, add_labeler(database), queue.queue_id).task_id == queue.task_ids[0]


def test_a_random_share_of_tasks_wants_extra_answers(database: Database) -> None:
    queue = seed_queue(database, kind="demonstration", prompts=200, extra_overlap_fraction=0.25, extra_overlap=2, settings={"seed": 1})
    with database.read() as session:
        wanted = Counter(session.scalars(select(Task.wanted).where(Task.queue_id == queue.queue_id)))
    assert set(wanted) == {1, 3}
    assert 30 <= wanted[3] <= 70


@pytest.mark.parametrize(
    ("answers", "asked"),
    [([(1, 2, 3), (1, 2, 3)], 2), ([(1, 2, 3), (3, 2, 1), (1, 2, 3)], 3), ([(1, 2, 3), (3, 2, 1), (2, 1, 3), (2, 3, 1)], 4)],
)
def test_a_further_answer_is_asked_for_only_while_no_two_agree(database: Database, answers: list[tuple[int, ...]], asked: int) -> None:
    queue = seed_queue(database, kind="rank", k=3, prompts=1, stop_when_agreed=True, max_overlap=4)
    given = 0
    for number in range(6):
        labeler = add_labeler(database, f"L{number}")
        lease = next_lease(database, labeler, queue.queue_id, now=T0)
        if lease is None:
            break
        submit(database, lease.assignment_id, labeler, lease.idem_key, ranking(*answers[given]), now=T0)
        given += 1
    assert given == asked
    assert _task(database, queue.task_ids[0]).state == "done"


def test_nobody_decides_about_a_task_they_answered(database: Database) -> None:
    asked = seed_queue(database, kind="rank", k=3, prompts=1)
    judging = seed_queue(database, kind="adjudicate", prompts=1)
    answered, judge = add_labeler(database, "L1"), add_labeler(database, "L2")
    lease = _lease(database, answered, asked.queue_id)
    submit(database, lease.assignment_id, answered, lease.idem_key, ranking(1, 2, 3))
    with database.write() as session:
        session.get_one(Task, judging.task_ids[0]).adjudicates = lease.task_id
    assert next_lease(database, answered, judging.queue_id) is None
    assert next_lease(database, judge, judging.queue_id) is not None


def test_a_drifted_counter_is_found_mended_and_never_loses_an_answer(database: Database) -> None:
    queue = seed_queue(database, prompts=2)
    labeler, other = add_labeler(database, "L1"), add_labeler(database, "L2")
    lease = _lease(database, labeler, queue.queue_id)
    assert reconcile(database) == []
    with database.write() as session:
        session.execute(update(Task).where(Task.id == lease.task_id).values(taken=0))
    (found,) = reconcile(database)
    assert (found.task_id, found.column, found.stored, found.counted) == (lease.task_id, "taken", 0, 1)
    assert _lease(database, other, queue.queue_id).task_id != lease.task_id  # counted again under the lock
    with database.write() as session:
        session.execute(update(Task).where(Task.id == lease.task_id).values(taken=0))
    assert not submit(database, lease.assignment_id, labeler, lease.idem_key, any_answer("rank", 6)).surplus
    with database.write() as session:
        session.execute(update(Task).where(Task.id == lease.task_id).values(done=7))
    assert len(reconcile(database, fix=True)) == 1
    assert reconcile(database) == []


def test_tasks_that_cannot_be_asked_are_refused_all_together(database: Database) -> None:
    queue = seed_queue(database, prompts=2, k=3)
    good = NewTask(prompt_id=queue.prompt_ids[0], completion_ids=queue.completions[0])
    for bad, why in (
        (NewTask(prompt_id="nothing"), "there is no prompt"),
        (NewTask(prompt_id=queue.prompt_ids[0]), "has 0 completions"),
        (NewTask(prompt_id=queue.prompt_ids[0], completion_ids=queue.completions[1]), "does not answer its prompt"),
        (NewTask(prompt_id=queue.prompt_ids[0], completion_ids=(queue.completions[0][0],) * 2), "twice"),
        (NewTask(prompt_id=queue.prompt_ids[0], completion_ids=queue.completions[0], wanted=0), "wants 0"),
    ):
        with pytest.raises(DataError, match=why):
            add_tasks(database, queue.queue_id, [good, bad])
    assert queues(database)[0].tasks == 2


def test_queues_that_make_no_sense_are_refused(database: Database) -> None:
    seed_queue(database, prompts=1, name="there")
    for options, why in (
        ({"name": "there", "kind": "rank"}, "already"),
        ({"name": "x", "kind": "dance"}, "kind"),
        ({"name": "x", "kind": "rank", "overlap": 0}, "overlap"),
        ({"name": "x", "kind": "rank", "cohorts": ("friends",)}, "cohorts"),
        ({"name": "x", "kind": "rank", "guideline": "default@9"}, "guideline"),
        ({"name": "x", "kind": "rank", "gold_rate": 2.0}, "gold_rate"),
    ):
        with pytest.raises(ConfigError, match=why):
            create_queue(database, **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="state"):
        set_queue_state(database, "x", "asleep")


def test_an_assignment_names_the_guideline_that_was_shown(database: Database) -> None:
    from instructloop.feedback.guidelines import publish, use

    queue = seed_queue(database, prompts=2)
    labeler = add_labeler(database)
    lease = _lease(database, labeler, queue.queue_id)
    newer = publish(database, "default", "training", "Second edition", "Be kind.")
    use(database, queue.queue_id, newer)
    submit(database, lease.assignment_id, labeler, lease.idem_key, any_answer("rank", 6))
    second = _lease(database, labeler, queue.queue_id)
    with database.read() as session:
        shown = session.scalars(select(Submission.guideline_id)).one()
        assert shown == session.get_one(Assignment, lease.assignment_id).guideline_id != newer
        assert session.get_one(Assignment, second.assignment_id).guideline_id == newer
