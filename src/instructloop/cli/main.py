"""The command ``instructloop``: a table of verbs, each loaded only when it is called, so that help is immediate."""

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

from instructloop.core.errors import InstructLoopError, MissingExtraError

_EXTRA_OF = {
    **dict.fromkeys(("torch", "transformers", "tokenizers", "safetensors", "peft", "jaxtyping"), "train"),
    **dict.fromkeys(("matplotlib", "jinja2"), "report"),
    "pyarrow": "files",
    "vaderSentiment": "lab",
    **dict.fromkeys(("sqlalchemy", "alembic"), "store"),
    **dict.fromkeys(("phonenumbers", "stdnum", "py3langid"), "prompts"),
    **dict.fromkeys(("fastapi", "starlette", "uvicorn", "python_multipart", "argon2", "markdown_it", "nh3", "zxcvbn"), "web"),
    "psycopg": "postgres",
    "spacy": "names",
    **dict.fromkeys(("sacrebleu", "rouge_score", "sklearn", "langdetect"), "evaluation"),
}


class Verb(NamedTuple):
    """One line of the table."""

    target: str
    """``module:function``; called with the remaining arguments and the program name, returns an exit code or None."""
    summary: str
    example: str


VERBS: dict[str, Verb] = {
    "run": Verb("run:run", "run a recipe: the whole loop, or the part that is not done yet", "instructloop run miniature --out runs/first"),
    "train pretrain": Verb(
        "train:pretrain",
        "a small base model from scratch",
        "instructloop train pretrain --data corpus.jsonl --tokenizer my-tokenizer --out runs/base",
    ),
    "train sft": Verb(
        "train:sft",
        "supervised fine-tuning on demonstrations",
        "instructloop train sft --model models/base --data demonstrations.jsonl --out runs/sft",
    ),
    "train rm": Verb(
        "train:reward_model",
        "a reward model from rankings",
        "instructloop train rm --model runs/sft --data rankings.jsonl --out runs/rm",
    ),
    "train ppo": Verb(
        "train:ppo",
        "PPO and PPO-ptx against a reward",
        "instructloop train ppo --model runs/sft --reward-model runs/rm --prompts prompts.jsonl --out runs/ppo",
    ),
    "sample": Verb(
        "sample:sample",
        "K different completions of each prompt, to be ranked",
        "instructloop sample --models runs/sft --prompts prompts.jsonl --out runs/to-rank",
    ),
    "rehearse": Verb(
        "rehearse:rehearse",
        "simulated labelers work through a copy of a project",
        "instructloop rehearse my-project --out rehearsal --agreement 0.726 --labelers 12",
    ),
    "feedback check-demonstrations": Verb(
        "check:check_demonstrations",
        "what may be wrong with demonstrations before a model inherits it",
        "instructloop feedback check-demonstrations my-project",
    ),
    "chat": Verb("chat:chat", "talk to a model", "instructloop chat runs/first/stages/ppo_ptx"),
    "evaluate": Verb(
        "evaluate:evaluate",
        "models side by side on held-out prompts",
        "instructloop evaluate --models sft=runs/sft ppo=runs/ppo --prompts test.jsonl --reward-model runs/rm --out runs/eval",
    ),
    "compare ask": Verb(
        "compare:ask",
        "an evaluation's completions into blind comparisons by people",
        "instructloop compare ask runs/eval --project my-project",
    ),
    "compare collect": Verb(
        "compare:collect", "people's votes back into the evaluation", "instructloop compare collect runs/eval --project my-project"
    ),
    "select": Verb(
        "select:select",
        "one of several trained models, by preference on held-out prompts",
        "instructloop select --models a=runs/ppo-a b=runs/ppo-b --prompts validation.jsonl --reward-model runs/held-out-rm --out runs/best",
    ),
    "inspect": Verb(
        "inspect:inspect",
        "is the reward lying? proxy against gold, length, variety, sycophancy, with alarms",
        "instructloop inspect runs/first/stages/ppo",
    ),
    "score": Verb(
        "score:score", "marks of outputs made elsewhere, by the suites' own rules", "instructloop score --suite squadv2 outputs.csv"
    ),
    "report": Verb("report:report", "write report.html of a run or a pipeline", "instructloop report runs/first"),
    "card": Verb(
        "card:card", "write or update the model cards of a run or a pipeline", "instructloop card runs/ppo --evaluation runs/eval"
    ),
    "lineage": Verb("provenance:lineage", "what a model or file was made from, back to the labelers", "instructloop lineage runs/ppo"),
    "verify": Verb("provenance:verify", "hash the whole chain behind a model again", "instructloop verify runs/ppo"),
    "export": Verb("provenance:export", "copy a model out as a plain Hugging Face directory", "instructloop export runs/ppo my-model"),
    "doctor": Verb(
        "doctor:doctor", "what this machine can do; memory of a recipe; the health of a PPO run", "instructloop doctor runs/ppo"
    ),
    "init": Verb("label:init", "a project folder for people's feedback", "instructloop init my-project"),
    "label": Verb("label:label", "the labeling server of a project", "instructloop label my-project --open"),
    "users invite": Verb("label:invite", "an invitation link", "instructloop users invite my-project --role labeler --cohort heldout"),
    "users password": Verb("label:password", "a link that sets a new password", "instructloop users password my-project ada@example.org"),
    "users list": Verb("label:users", "the accounts of a project", "instructloop users list my-project"),
    "miniature build": Verb("miniature:build", "the files of the small world", "instructloop miniature build --out runs/world"),
    "miniature label": Verb(
        "miniature:label",
        "rankings by simulated labelers",
        "instructloop miniature label --completions runs/to-rank/completions.jsonl --out runs/labels",
    ),
    "miniature evaluate": Verb(
        "miniature:evaluate",
        "models judged by the small world's gold utility",
        "instructloop miniature evaluate --models sft runs/sft ppo runs/ppo --out runs/gold",
    ),
    "miniature observe": Verb(
        "miniature:observe",
        "gold of what the watches of PPO runs kept, after the fact",
        "instructloop miniature observe --runs ppo runs/ppo --sft runs/sft --out runs/observed",
    ),
    "prompts import": Verb(
        "prompts:import_file", "prompts of a file into a project", "instructloop prompts import prompts.jsonl --project my-project"
    ),
    "prompts stats": Verb("prompts:stats", "the paper's tables about prompts, for your own", "instructloop prompts stats my-project"),
    "prompts check": Verb(
        "prompts:check", "splits by owner, consent and personal data of a project", "instructloop prompts check my-project"
    ),
    "prompts review": Verb(
        "prompts:review", "prompts with personal data: list them, decide about one", "instructloop prompts review my-project"
    ),
    "prompts pii-report": Verb(
        "prompts:pii_report", "recall and precision of the personal-data rules", "instructloop prompts pii-report labeled.jsonl"
    ),
    "prompts expand": Verb(
        "prompts:expand",
        "few-shot templates into demonstrations",
        "instructloop prompts expand templates.jsonl --out demonstrations.jsonl",
    ),
    "feedback export": Verb(
        "feedback:export",
        "answers of a project as files: our own rows, TRL's, or CSV",
        "instructloop feedback export my-project --out exports/first",
    ),
    "feedback import": Verb(
        "feedback:import_",
        "answers from our own export or another labeling tool's",
        "instructloop feedback import records.jsonl --project my-project --from argilla",
    ),
    "feedback check": Verb(
        "upkeep:check", "the audit log, the counters and the snapshots, hashed and counted again", "instructloop feedback check my-project"
    ),
    "feedback backup": Verb(
        "upkeep:backup", "a copy of the store while people work in it", "instructloop feedback backup my-project backups/monday.sqlite3"
    ),
    "feedback upgrade": Verb(
        "upkeep:upgrade", "bring a project's store to this program's schema", "instructloop feedback upgrade my-project"
    ),
    "feedback revoke": Verb(
        "upkeep:revoke", "close a consent: nothing under it leaves any more", "instructloop feedback revoke my-project --consent 018f-..."
    ),
    "feedback erase": Verb(
        "upkeep:erase",
        "erase a prompt or a person, with a tombstone",
        "instructloop feedback erase my-project --prompt 018f-... --reason 'asked by its author'",
    ),
    "snapshot": Verb("feedback:snapshot", "what may train now, frozen under the hash of its content", "instructloop snapshot my-project"),
    "lab banana": Verb(
        "lab:banana",
        "one reward, three strengths of the KL tether (spec I17, W6)",
        "instructloop lab banana --out runs/banana --reward contains:boat",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code. A reader that has gone (``| head``) ends the command quietly."""
    try:
        try:
            return _answer(argv)
        finally:  # also where help ends the program: what fails now is caught here
            sys.stdout.flush()
    except BrokenPipeError:
        # Nothing is left to say, and the interpreter must not try to say it once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _answer(argv: Sequence[str] | None) -> int:
    """Run the command.

    0 done, 1 a bug of ours (with its traceback), 2 something the user can mend (error and hint), 3 a check found
    something (``verify``, ``doctor``), 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(_help())
        return 0
    if arguments[0] == "--version":
        from instructloop import __version__

        print(f"instructloop {__version__}")
        return 0
    try:
        return _dispatch(arguments)
    except InstructLoopError as error:
        return _complain(error)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRA_OF:
            raise
        return _complain(MissingExtraError.for_extra(package, _EXTRA_OF[package]))
    except KeyboardInterrupt:
        print("\ninterrupted; the same command with --resume goes on (a pipeline needs no flag)", file=sys.stderr)
        return 130


def _dispatch(arguments: list[str]) -> int:
    for words in (2, 1):
        name = " ".join(arguments[:words])
        if name in VERBS:
            module, _, function = VERBS[name].target.partition(":")
            run = cast("Callable[[list[str], str], int | None]", getattr(importlib.import_module(f"instructloop.cli.{module}"), function))
            return run(arguments[words:], f"instructloop {name}") or 0
    group = [name for name in VERBS if name.startswith(arguments[0] + " ")]
    if group and (len(arguments) == 1 or arguments[1] in {"-h", "--help"}):
        print(_help(group))
        return 0
    wanted = " ".join(arguments[:2]) if group else arguments[0]
    near = difflib.get_close_matches(wanted, group or [*VERBS, *(name.partition(" ")[0] for name in VERBS)], n=1)
    raise InstructLoopError(
        f"no command is called {wanted!r}", hint=f"did you mean 'instructloop {near[0]}'?" if near else "see instructloop --help"
    )


def _complain(error: InstructLoopError) -> int:
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)
    return 2


def _help(names: Sequence[str] = tuple(VERBS)) -> str:
    width = max(len(name) for name in names)
    lines = ["usage: instructloop COMMAND [options]", "", "The whole InstructGPT loop as one program.", ""]
    lines += [f"  {name:<{width}}  {VERBS[name].summary}" for name in names]
    lines += ["", "Start here:", f"  {VERBS[names[0]].example}", "", "instructloop COMMAND --help tells more, with an example."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
