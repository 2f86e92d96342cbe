"""The evaluation as a page: the figures beside others', and the worst errors to look at."""

import base64
import io
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from prefect import task
from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact
from pydantic import BaseModel, ConfigDict

from tasks.data.prepared_data import PreparedData
from tasks.evaluation.reference import ALWAYS_THREE, BENCHMARK, OLD_SYSTEM
from tasks.evaluation.results import Answer, EvaluatedModel
from tasks.home import write_at_home
from tasks.object_store import fetch
from tasks.pages import render
from tasks.retries import RETRIES
from training.errors import PhotoError
from training.picture import decode, squash

WORST, COLUMNS, SIDE, CAPTION = 24, 6, 180, 34
_TEMPLATE = Path(__file__).with_name("page.html.j2")
_FIGURES = (
    ("accuracy", "Accuracy", "share"),
    ("rmse", "RMSE, objects", "number"),
    ("mae", "MAE, objects", "number"),
    ("within_one", "Within one", "share"),
    ("loss", "Log-likelihood loss, nats", "number"),
    ("ece", "Calibration error", "share"),
)


class WorstError(BaseModel):
    """A photo that the model got badly wrong."""

    model_config = ConfigDict(frozen=True)

    photo_id: str
    true: int
    said: int
    confidence: float
    jpeg: bytes


@task(name="publish evaluation", task_run_name="publish evaluation", **RETRIES)
def publish(evaluated: EvaluatedModel, data: PreparedData, folder: Path) -> Path:
    """Write ``evaluation.html`` into the run's folder, and the artifacts for Prefect's UI; returns the page's path."""
    worst = worst_errors(evaluated, data)
    page = folder / "evaluation.html"
    write_at_home(page, as_html(evaluated, worst, data.dataset))
    create_markdown_artifact(as_markdown(evaluated), key="evaluation", description="Evaluation on the test split")
    create_table_artifact(comparison_rows(evaluated), key="evaluation-figures", description="Beside other models")
    if worst:
        sheet = base64.b64encode(contact_sheet(worst)).decode()
        create_image_artifact(
            f"data:image/jpeg;base64,{sheet}", key="worst-errors", description="Photos with the worst errors"
        )
    return page


def worst_errors(evaluated: EvaluatedModel, data: PreparedData, most: int = WORST) -> list[WorstError]:
    """The largest errors in range, the most confident first, with a small picture of each."""
    classes = evaluated.answers[0].prediction.probabilities.keys()
    wrong = [
        each
        for each in evaluated.answers
        if each.split == "test" and each.count in classes and each.prediction.count != each.count
    ]
    wrong.sort(key=lambda each: (-abs(each.prediction.count - each.count), -each.prediction.confidence, each.photo_id))
    return [
        WorstError(
            photo_id=each.photo_id,
            true=each.count,
            said=each.prediction.count,
            confidence=each.prediction.confidence,
            jpeg=_thumbnail(each, data),
        )
        for each in wrong[:most]
    ]


def contact_sheet(worst: list[WorstError]) -> bytes:
    """One JPEG of the worst errors, each with what is true and what was said below it."""
    rows = -(-len(worst) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (SIDE + 8), rows * (SIDE + CAPTION)), "white")
    draw = ImageDraw.Draw(sheet)
    for place, each in enumerate(worst):
        left, top = place % COLUMNS * (SIDE + 8), place // COLUMNS * (SIDE + CAPTION)
        with Image.open(io.BytesIO(each.jpeg)) as photo:
            sheet.paste(photo, (left, top))
        draw.text(
            (left + 2, top + SIDE + 2),
            f"holds {each.true}, said {each.said} ({each.confidence:.0%})",
            "black",
            font_size=14,
        )
    body = io.BytesIO()
    sheet.save(body, "JPEG", quality=80)
    return body.getvalue()


def comparison_rows(evaluated: EvaluatedModel) -> list[dict[str, str]]:
    """One row a figure: this model with its interval, the deployed one, and what others have published."""
    found, rival = evaluated.evaluation, evaluated.comparison
    if rival and rival.n != found.n:
        rival = None  # figures of fewer photos do not stand beside these; a sentence has them
    rows = []
    for key, title, kind in _FIGURES:
        row = {"figure": title, "this model": _shown(getattr(found, key), kind)}
        low, high = found.intervals.get(key, (None, None))
        row["95 % interval"] = f"{_shown(low, kind)} to {_shown(high, kind)}" if low is not None else ""
        row["deployed model"] = _shown(getattr(rival, key, None), kind)
        row["benchmark"] = _shown(BENCHMARK.get(key), kind)
        row["old system"] = _shown(OLD_SYSTEM.get(key), kind)
        row["always 3"] = _shown(ALWAYS_THREE.get(key), kind)
        rows.append(row)
    return rows


def as_markdown(evaluated: EvaluatedModel) -> str:
    """The figures beside others', and what the model is worth for triage."""
    found, rows = evaluated.evaluation, comparison_rows(evaluated)
    lines = [f"| {' | '.join(rows[0])} |", "|" + "---|" * len(rows[0])]
    lines += [f"| {' | '.join(row.values())} |" for row in rows]
    notes = [
        f"{found.n} photos of {found.bins} bins that the model has never seen; {found.unreadable} were unreadable.",
        f"Temperature {found.temperature:.3f}, tilt {found.tilt:.3f}: loss {found.loss_before:.4f} → {found.loss:.4f}, "
        f"calibration error {found.ece_before:.2%} → {found.ece:.2%}. Arithmetic: {found.precision}.",
        f"The expected value, rounded, has RMSE {found.rmse_expected:.3f}.",
    ]
    if found.triage:
        hits = ", ".join(
            f"{share:.1%} of the first {top} (lift {found.triage.lift_at[top]:.1f})"
            for top, share in found.triage.precision_at.items()
        )
        notes.append(
            f"With {found.triage.planted} of {found.triage.photos} records made wrong: wrong are {hits}; area under "
            f"the curve {found.triage.auc:.3f}; {found.triage.big_in_top_tenth:.0%} of the errors of two or more are "
            "in the first tenth."
        )
    if found.out_of_range:
        beyond = found.out_of_range
        notes.append(
            f"Of {beyond.n} photos out of range {beyond.flagged:.1%} are flagged; {beyond.false_alarms:.1%} of those "
            "in range are too."
        )
    if evaluated.incomparable:
        notes.append(f"The deployed model could not be measured on the same photos: {evaluated.incomparable}")
    notes.append(
        "Benchmark and old system were measured on random splits, in which most test bins have a twin in training."
    )
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)])


def as_html(evaluated: EvaluatedModel, worst: list[WorstError], dataset: str) -> str:
    """A page that needs nothing but itself: no script, no request."""
    found = evaluated.evaluation
    classes = list(evaluated.answers[0].prediction.probabilities)
    context: dict[str, Any] = {
        "dataset": dataset,
        "model": evaluated.answers[0].prediction.model,
        "found": found,
        "rival": evaluated.comparison,
        "incomparable": evaluated.incomparable,
        "rows": comparison_rows(evaluated),
        "classes": classes,
        "row_sums": [sum(row) for row in found.confusion],
        "worst": [each.model_dump(exclude={"jpeg"}) | {"uri": _data_uri(each.jpeg)} for each in worst],
    }
    return render(_TEMPLATE, **context)


def _shown(value: float | None, kind: str) -> str:
    if value is None:
        return ""
    return f"{value:.2%}" if kind == "share" else f"{value:.3f}"


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _thumbnail(answer: Answer, data: PreparedData) -> bytes:
    body = io.BytesIO()
    try:
        image = squash(decode(fetch(f"{data.uri}/{answer.key}"), SIDE), SIDE)
    except (PhotoError, FileNotFoundError):
        image = Image.new("RGB", (SIDE, SIDE), "lightgrey")  # it was there when it was measured
    image.save(body, "JPEG", quality=80)
    return body.getvalue()
