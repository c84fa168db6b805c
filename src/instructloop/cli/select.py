"""``instructloop select``."""

from pathlib import Path

from instructloop.cli.arguments import parse_stage
from instructloop.cli.tables import console, print_evaluations
from instructloop.config.selection import SelectionConfig
from instructloop.core.files import read_json


def select(arguments: list[str], prog: str) -> None:
    """One of several trained models, by held-out preference."""
    cfg, given = parse_stage(SelectionConfig, arguments, prog)
    from instructloop.evaluation.select import CHOICE_FILE, run_selection

    out = run_selection(cfg, Path(given.out), resume=given.resume)
    screen = console()
    print_evaluations(screen, out)
    choice = read_json(out / CHOICE_FILE)
    doubt = "" if choice["clear"] else " (the difference may be chance: the interval includes one half)"
    screen.print(f"\nchosen: {choice['chosen']}{doubt}\nmodel: {out / 'model'}", markup=False, soft_wrap=True)
