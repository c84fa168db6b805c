"""Labelers' processes for the tests: they work through a queue by leases and submissions, printing a receipt for every answer.

Run as ``python worker.py URL QUEUE``. Prints ``ready`` and then, for every line of labelers' codes on its input, forks a process
that begins to work at once, one thread a labeler, and prints its number: a further process costs no import.
"""

import os
import sys
import threading
import traceback

from instructloop.feedback.assignment import next_lease
from instructloop.feedback.database import Database
from instructloop.feedback.drafts import save_draft
from instructloop.feedback.labelers import labeler_by_code
from instructloop.feedback.submissions import submit
from instructloop.testing.feedback import any_answer


def say(line: str) -> None:
    """One write, so that lines of several threads and processes never mix."""
    os.write(1, f"{line}\n".encode())


def work(db: Database, queue: str, code: str, *, most: int = 1_000_000) -> None:
    """Answer until nothing is left, or ``most`` tasks."""
    try:
        labeler = labeler_by_code(db, code).id
        while most > 0 and (lease := next_lease(db, labeler, queue)):
            most -= 1
            save_draft(db, lease.assignment_id, labeler, {"n": 1}, 0)
            receipt = submit(db, lease.assignment_id, labeler, lease.idem_key, any_answer(lease.kind, lease.k), active_ms=9000)
            say(f"receipt {receipt.submission_id}")
    except Exception:  # noqa: BLE001 - whatever it is, the test has to hear of it
        say("error " + traceback.format_exc().replace("\n", " | "))


def labelers(db: Database, queue: str, codes: list[str]) -> None:
    """One thread a labeler, in a process of its own."""
    threads = [threading.Thread(target=work, args=(db, queue, code)) for code in codes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    """Fork a process of labelers for every line that comes in."""
    url, queue = sys.argv[1:]
    db = Database(url)
    work(db, queue, "WARM", most=1)  # compiles the statements once for all processes to come
    db.close()  # no connection may cross a fork
    say("ready")
    children = []
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            labelers(db, queue, line.split())
            os._exit(0)
        say(f"pid {child}")
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
