"""Which epoch is the best so far."""

from instructloop.training.selection import Progress


def noted(select_by: str, name: str, values: list[float]) -> tuple[list[bool], Progress]:
    progress = Progress()
    return [progress.note(select_by, step, {name: value}) for step, value in enumerate(values, start=1)], progress


def test_the_lowest_validation_loss_and_the_highest_score_win_and_the_earlier_of_equals_stays() -> None:
    better, progress = noted("validation_loss", "val_loss", [2.0, 1.0, 1.0, 1.5])
    assert (better, progress.best_step) == ([True, True, False, False], 2)
    better, progress = noted("rm_score", "rm_score", [0.1, 0.3, 0.2])
    assert (better, progress.best_step) == ([True, True, False], 2)


def test_the_last_epoch_is_taken_when_nothing_selects() -> None:
    better, progress = noted("last", "val_loss", [2.0, 1.0])
    assert better == [False, False]
    assert progress.result("last") == {"val_loss": 1.0, "steps": 2, "selected_step": 2, "selected_by": "last"}


def test_a_stored_progress_is_the_same_progress() -> None:
    _, progress = noted("validation_loss", "val_loss", [2.0, 1.0, 3.0])
    assert Progress(**progress.as_dict()) == progress
