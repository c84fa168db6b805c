"""Ranking in a real Chromium: by keys alone, by mouse, by finger; with ties; never with an answer nobody gave."""

from collections.abc import Callable, Mapping

import pytest
from playwright.sync_api import Page, expect

from instructloop.feedback.answers import PairwiseAnswer, RankingAnswer
from instructloop.testing.server import RunningServer, sign_in
from instructloop.testing.tasks import answers_in, order_shown, seed_queue

OpenPage = Callable[..., Page]


def open_queue(open_page: OpenPage, server: RunningServer, queue_id: str, **options: object) -> Page:
    page = open_page(sign_in(server.project), f"/work/{queue_id}", **options)
    page.wait_for_selector("[data-ready]")
    return page


def assignment(page: Page) -> str:
    return str(page.locator("[data-task]").get_attribute("data-task"))


def submitted(page: Page, keys: str = "Control+Enter") -> None:
    """Send the answer and wait for its receipt."""
    before = page.url
    page.keyboard.press(keys)
    page.wait_for_url(lambda url: url != before)
    page.wait_for_selector("[data-receipt]")


def tiers(server: RunningServer, shown: tuple[int, ...], by_letter: Mapping[int, int]) -> RankingAnswer:
    """The ranking in which the letter at place i got tier ``by_letter[i]``."""
    by_slot: list[int | None] = [None] * len(shown)
    for place, tier in by_letter.items():
        by_slot[shown[place]] = tier
    return RankingAnswer(tiers=tuple(by_slot))


def test_rankings_with_ties_are_given_by_keys_alone_for_2_to_9_outputs(live_server: RunningServer, open_page: OpenPage) -> None:
    db = live_server.project.database()
    queues = {k: seed_queue(db, "rank", tasks=1, k=k) for k in range(2, 10)}
    person = sign_in(live_server.project)
    page = open_page(person)
    for k, queue_id in queues.items():
        page.goto(f"/work/{queue_id}")
        page.wait_for_selector("[data-ready]")
        shown = order_shown(db, assignment(page))
        wanted = [1 + place // 2 for place in range(k)]  # pairs tie: 1 1 2 2 3 3 ...
        page.keyboard.press("a")
        for tier in wanted:
            page.keyboard.press(str(tier))
        submitted(page)
        assert answers_in(db, queue_id) == [tiers(live_server, shown, dict(enumerate(wanted)))]
    db.close()


def test_six_outputs_take_eight_keystrokes_and_no_mouse(live_server: RunningServer, open_page: OpenPage) -> None:
    db = live_server.project.database()
    queue_id = seed_queue(db, "rank", tasks=2, k=6)
    page = open_queue(open_page, live_server, queue_id)
    page.evaluate("window.pressed = 0; addEventListener('keydown', e => { if (e.key !== 'Control') window.pressed += 1 }, true)")
    shown = order_shown(db, assignment(page))
    for key in ("a", "1", "1", "2", "4", "3", "3"):
        page.keyboard.press(key)
    expect(page.locator("[data-order]")).to_have_text("A = B > C > E = F > D")
    submitted(page)
    assert page.evaluate("window.pressed") == 8
    assert answers_in(db, queue_id) == [tiers(live_server, shown, {0: 1, 1: 1, 2: 2, 3: 4, 4: 3, 5: 3})]
    page.wait_for_selector("[data-ready]")
    expect(page.locator("[data-order]")).to_have_text("to rank: A, B, C, D, E, F")
    db.close()


def test_a_ranking_begins_empty_and_cannot_be_sent_untouched(live_server: RunningServer, open_page: OpenPage) -> None:
    db = live_server.project.database()
    queue_id = seed_queue(db, "rank", tasks=1, k=4)
    page = open_queue(open_page, live_server, queue_id)
    assert page.locator("[data-form] input:checked").count() == 0
    page.keyboard.press("Control+Enter")
    expect(page.locator('[data-notice="errors"]')).to_contain_text("4 fields")
    for letter in "ABCD":
        expect(page.locator(f'[data-error-for="rank.{letter}"]')).to_be_visible()
    assert answers_in(db, queue_id) == []
    db.close()


def test_equal_sign_ties_arrows_move_and_undo_takes_back(live_server: RunningServer, open_page: OpenPage) -> None:
    db = live_server.project.database()
    page = open_queue(open_page, live_server, seed_queue(db, "rank", tasks=1, k=4))
    order = page.locator("[data-order]")
    page.keyboard.press("b")
    page.keyboard.press("2")
    page.keyboard.press("=")  # C, the next one, ties with B
    expect(order).to_contain_text("B = C")
    page.keyboard.press("d")
    page.keyboard.press("2")
    page.keyboard.press("d")
    page.keyboard.press("ArrowUp")
    expect(order).to_contain_text("D > B = C")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(order).to_contain_text("B = C > D")
    page.keyboard.press("u")
    page.keyboard.press("Control+z")
    expect(order).to_contain_text("D > B = C")
    page.keyboard.press("0")
    expect(order).to_contain_text("to rank: A, D")
    db.close()


def test_letters_of_outputs_go_first_and_shift_reaches_the_commands_behind_them(live_server: RunningServer, open_page: OpenPage) -> None:
    db = live_server.project.database()
    page = open_queue(open_page, live_server, seed_queue(db, "rank", tasks=1, k=7))
    page.keyboard.press("g")
    expect(page.locator('[data-card="G"]')).to_be_focused()
    expect(page.locator('[data-key="guidelines"]')).to_have_text("⇧G")
    page.keyboard.press("Shift+G")
    expect(page.locator("[data-guidelines]")).to_have_attribute("open", "")
    expect(page.locator("[data-guidelines-body] .guideline")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    page.keyboard.press("Shift+D")
    page.keyboard.press("c")
    expect(page.get_by_role("dialog", name="Outputs A and C")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("Shift+G")
    db.close()


def test_keys_are_ignored_while_somebody_writes(live_server: RunningServer, open_page: OpenPage) -> None:
    db = live_server.project.database()
    page = open_queue(open_page, live_server, seed_queue(db, "rank", tasks=1, k=4))
    page.locator(".remark summary").click()
    page.locator("#comment").fill("")
    page.locator("#comment").press_sequentially("as 1 2 3 =")
    expect(page.locator("#comment")).to_have_value("as 1 2 3 =")
    assert page.locator("[data-form] input:checked").count() == 0
    db.close()


def chip_to(page: Page, letter: str, column: int) -> None:
    chip, target = page.locator(f'[data-chip="{letter}"]').bounding_box(), page.locator(f'[data-column="{column}"]').bounding_box()
    assert chip is not None
    assert target is not None
    page.mouse.move(chip["x"] + chip["width"] / 2, chip["y"] + chip["height"] / 2)
    page.mouse.down()
    page.mouse.move(target["x"] + target["width"] / 2, target["y"] + target["height"] / 2, steps=6)
    page.mouse.up()


def test_dragging_into_columns_ranks_too_and_dragging_back_takes_away(live_server: RunningServer, open_page: OpenPage) -> None:
    db = live_server.project.database()
    queue_id = seed_queue(db, "rank", tasks=1, k=4)
    page = open_queue(open_page, live_server, queue_id)
    shown = order_shown(db, assignment(page))
    for letter, column in (("A", 2), ("B", 1), ("C", 2), ("D", 4)):
        chip_to(page, letter, column)
    expect(page.locator("[data-order]")).to_have_text("B > A = C > D")
    chip_to(page, "D", 0)
    expect(page.locator("[data-order]")).to_contain_text("to rank: D")
    chip_to(page, "D", 3)
    submitted(page)
    assert answers_in(db, queue_id) == [tiers(live_server, shown, {0: 2, 1: 1, 2: 2, 3: 3})]
    db.close()


def test_a_finger_drags_and_taps(live_server: RunningServer, open_page: OpenPage) -> None:
    db = live_server.project.database()
    queue_id = seed_queue(db, "rank", tasks=1, k=3)
    page = open_queue(open_page, live_server, queue_id, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    shown = order_shown(db, assignment(page))
    touch = page.context.new_cdp_session(page)
    chip, target = page.locator('[data-chip="A"]').bounding_box(), page.locator('[data-column="2"]').bounding_box()
    assert chip is not None
    assert target is not None
    start = {"x": chip["x"] + 10, "y": chip["y"] + 10}
    end = {"x": target["x"] + 10, "y": target["y"] + 20}
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [start]})
    for step in range(1, 31):  # slowly: a fling would swallow the tap that follows
        point = {axis: start[axis] + (end[axis] - start[axis]) * step / 30 for axis in "xy"}
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
        page.wait_for_timeout(20)
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_timeout(300)
    expect(page.locator("[data-order]")).to_contain_text("A   ·   to rank: B, C", use_inner_text=False)
    page.locator('[data-rank="B"] label').nth(0).tap()
    page.locator('[data-rank="C"] label').nth(1).tap()
    before = page.url
    page.locator("[data-submit]").tap()
    page.wait_for_url(lambda url: url != before)
    assert answers_in(db, queue_id) == [tiers(live_server, shown, {0: 2, 1: 1, 2: 2})]
    db.close()


@pytest.mark.parametrize(("keys", "shown_winner"), [(("a", "2"), "left"), (("b",), "right"), (("=",), "tie"), (("x",), "both_bad")])
def test_a_comparison_takes_one_key(live_server: RunningServer, open_page: OpenPage, keys: tuple[str, ...], shown_winner: str) -> None:
    db = live_server.project.database()
    queue_id = seed_queue(db, "pairwise", tasks=1)
    page = open_queue(open_page, live_server, queue_id)
    shown = order_shown(db, assignment(page))
    for key in keys:
        page.keyboard.press(key)
    submitted(page)
    winner = {"left": str(shown[0]), "right": str(shown[1])}.get(shown_winner, shown_winner)
    assert answers_in(db, queue_id) == [PairwiseAnswer(winner=winner, strength=2 if "2" in keys else None)]
    db.close()


def test_single_keys_can_be_switched_off_and_given_other_letters(live_server: RunningServer, open_page: OpenPage) -> None:
    db = live_server.project.database()
    queue_id = seed_queue(db, "rank", tasks=1, k=3)
    person = sign_in(live_server.project)
    page = open_page(person, "/work/keys")
    page.get_by_label("Guidelines").fill("w")
    page.get_by_role("button", name="Keep these keys").click()
    expect(page.locator(".notice")).to_contain_text("kept")
    page.goto(f"/work/{queue_id}")
    page.wait_for_selector("[data-ready]")
    page.keyboard.press("g")
    expect(page.locator("[data-guidelines]")).not_to_have_attribute("open", "")
    page.keyboard.press("w")
    expect(page.locator("[data-guidelines]")).to_have_attribute("open", "")
    page.goto("/account")
    page.get_by_label("Single letters and digits act as keys").uncheck()
    page.get_by_role("button", name="Keep these choices").click()
    page.goto(f"/work/{queue_id}")
    page.wait_for_selector("[data-ready]")
    page.locator("[data-heading]").focus()
    for key in ("a", "1", "w", "s"):
        page.keyboard.press(key)
    assert page.locator("[data-form] input:checked").count() == 0
    assert page.locator("[data-skip][open]").count() == 0
    db.close()
