"""The evaluation's page, in a real browser."""

import os
from pathlib import Path

import pytest

from tasks.evaluation.page import WorstError, as_html, as_markdown, comparison_rows, contact_sheet
from tasks.evaluation.results import EvaluatedModel
from tests.browser import chromium
from tests.serving.photos import encoded, picture
from tests.tasks.evaluation.looks import evaluated_model


@pytest.fixture(scope="module")
def evaluated() -> EvaluatedModel:
    return evaluated_model()


@pytest.fixture(scope="module")
def worst() -> list[WorstError]:
    return [
        WorstError(
            photo_id=f"0052{place}", true=5, said=1, confidence=0.71, jpeg=encoded(picture((180, 180), seed=place))
        )
        for place in range(14)
    ]


def test_the_page_shows_figures_and_photos_and_asks_nobody(
    evaluated: EvaluatedModel, worst: list[WorstError], tmp_path: Path
) -> None:
    page = tmp_path / "evaluation.html"
    page.write_text(as_html(evaluated, worst, "<b>odd & name</b>"))
    asked: list[str] = []
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": 1200, "height": 900})
        tab.on("request", lambda request: asked.append(request.url))
        errors: list[str] = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(page.as_uri())
        assert tab.locator("figure img").count() == 14
        loaded = tab.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        text = tab.inner_text("body")
        wide = tab.evaluate("document.documentElement.scrollWidth")
        tab.set_viewport_size({"width": 390, "height": 800})
        narrow = tab.evaluate("document.documentElement.scrollWidth")
        if folder := os.environ.get("BINVENTORY_SCREENSHOTS"):
            tab.screenshot(path=f"{folder}/evaluation-phone.png", full_page=True)
            tab.set_viewport_size({"width": 1200, "height": 900})
            tab.screenshot(path=f"{folder}/evaluation.png", full_page=True)
    assert loaded
    assert errors == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert "<b>odd & name</b>" in text
    assert f"{100 * evaluated.evaluation.accuracy:.1f} %" in text
    assert "holds 5, said 1 (71 % sure)" in text
    assert "55.67%" in text
    assert "31.58%" in text
    assert wide <= 1200
    assert narrow <= 390, "the page scrolls sideways on a phone"


def test_the_markdown_and_the_table_stand_a_model_beside_the_others(evaluated: EvaluatedModel) -> None:
    text = as_markdown(evaluated)
    first = text.splitlines()[2]
    assert first.count("|") == text.splitlines()[0].count("|")
    assert "55.67%" in first
    assert "31.58%" in first
    assert "40.00%" in first
    assert "out of range" in text
    rows = {row["figure"]: row for row in comparison_rows(evaluated)}
    assert rows["Log-likelihood loss, nats"]["old system"] == "1.479"
    assert rows["RMSE, objects"]["benchmark"] == "0.930"


def test_the_contact_sheet_is_one_picture(worst: list[WorstError]) -> None:
    assert contact_sheet(worst).startswith(b"\xff\xd8")
