"""The project at a glance: progress, throughput, agreement, blind comparisons, surveys."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from instructloop.feedback import analysis, browse, comparisons, messages, progress, surveys
from instructloop.feedback.flags import FLAGS
from instructloop.feedback.ids import now_ms
from instructloop.labeling.admin.rooms import Looker, database, show
from instructloop.stats import Agreement
from instructloop.web import charts

router = APIRouter()
DAYS = 14


@router.get("/admin")
def overview(request: Request, viewer: Looker) -> Response:
    """Per queue pending, leased, done, surplus and the estimated end."""
    db = database(request)
    queues = progress.queue_progress(db)
    return show(
        request,
        "overview.html",
        viewer,
        queues=queues,
        skips=progress.skip_reasons(db),
        unread=messages.unread_for_team(db) if viewer.role != "viewer" else 0,
        now=now_ms(),
        done_today=sum(counts[-1] for counts in progress.throughput(db, days=1).answers.values()),
    )


@router.get("/admin/throughput")
def throughput(request: Request, viewer: Looker) -> Response:
    """Answers by labeler and day."""
    found = progress.throughput(database(request), days=DAYS)
    total = [sum(values[day] for values in found.answers.values()) for day in range(len(found.days))]
    most = sorted(found.answers, key=lambda code: -sum(found.answers[code]))
    lines = [charts.Line("all labelers", [(float(day - DAYS + 1), float(n)) for day, n in enumerate(total)])]
    return show(
        request,
        "throughput.html",
        viewer,
        found=found,
        total=total,
        labelers=most,
        line=charts.lines(f"Answers a day, {found.days[0]} to {found.days[-1]}", lines, x_label="days before today", y_label="answers"),
        bars=charts.bars("Answers by labeler", [charts.Bar(code, float(sum(found.answers[code]))) for code in most[:25]]),
    )


@router.get("/admin/agreement")
def agreement(request: Request, viewer: Looker, queue: str = "") -> Response:
    """Three tie conventions by cohort pair, chance-corrected agreement on fields, positions."""
    db = database(request)
    report = analysis.agreement_report(db, queue_id=queue or None)
    rows = [
        charts.Interval(_pair(pair), found.strict.value, found.strict.low, found.strict.high, found.prompts)
        for pair, found in report.cohorts.items()
        if found.strict is not None
    ]
    return show(
        request,
        "agreement.html",
        viewer,
        report=report,
        queues=progress.queue_progress(db),
        queue=queue,
        rows=[(_pair(pair), _thin(found), found) for pair, found in report.cohorts.items()],
        labels={key: flag.label for key, flag in FLAGS.items()} | {"overall": "Overall quality, 1 to 7"},
        chart=charts.intervals("Agreement without ties, 95 % intervals", rows, low=0.4, high=1.0, percent=True) if rows else None,
    )


def _pair(pair: tuple[str, str]) -> str:
    names = {"heldout": "held-out"}
    return " – ".join(names.get(cohort, cohort) for cohort in pair)


def _thin(found: Agreement) -> bool:
    """Too few prompts for the interval to mean much."""
    return found.prompts < 20


@router.get("/admin/comparisons")
def compare(request: Request, viewer: Looker, queue: str = "", baseline: str = "") -> Response:
    """Blind comparisons of models."""
    db = database(request)
    found = comparisons.comparison(db, queue_id=queue or None, baseline=baseline or None)
    duels = found.duels if found else ()
    rows = [
        charts.Interval(duel.model, duel.result.rate.value, duel.result.rate.low, duel.result.rate.high, duel.result.rate.n)
        for duel in duels
    ]
    return show(
        request,
        "comparisons.html",
        viewer,
        found=found,
        queues=browse.voting_queues(db),
        queue=queue,
        baseline=baseline,
        chart=charts.intervals(f"Win rate against {found.baseline}", rows, low=0.0, high=1.0, mark=0.5, percent=True) if found else None,
        board=charts.intervals(
            "Strength on the Elo scale", [charts.Interval(one.model, one.elo, one.elo_low, one.elo_high) for one in found.board.standings]
        )
        if found and found.board
        else None,
    )


@router.get("/admin/surveys")
def survey_results(request: Request, viewer: Looker) -> Response:
    """Aggregates of the surveys; nothing below five responses."""
    db = database(request)
    return show(request, "surveys.html", viewer, results=[surveys.result(db, kind) for kind in surveys.SURVEYS], least=surveys.SHOWN_FROM)
