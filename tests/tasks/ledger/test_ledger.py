"""The ledger remembers, repeats without change, and refuses what it does not understand."""

import datetime as dt
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, inspect, make_url, select, text

from tasks.ledger.database import alembic_config, ledger_url, open_engine, writing
from tasks.ledger.export import export_ledger, export_rows
from tasks.ledger.ledger import Ledger, newest
from tasks.ledger.models import Base, Count, photo_key
from tasks.review.queue import answer, undo
from tasks.settings import Settings
from tests.installation import ROOT
from tests.ledgers import MOMENT, count_row
from training.errors import LedgerError, TransientLedgerError


def test_what_is_written_comes_back(ledger: Ledger) -> None:
    odd = count_row(
        "bins/ü 'q'\n\"1\".jpg", products=None, probabilities=None, count=None, status="unreadable", model=""
    )
    assert ledger.upsert_counts([count_row(), odd]) == 2
    rows = {row.key: dict(row._mapping) for row in ledger.rows(Count)}
    assert rows == {row["key"]: row for row in (count_row(), odd)}


def test_the_same_rows_again_change_nothing_not_even_their_run(ledger: Ledger) -> None:
    ledger.upsert_counts([count_row(f"{n}.jpg") for n in range(70)])
    before = list(ledger.rows(Count))
    later: dict[str, Any] = {
        "run": "run-2",
        "counted_at": MOMENT + dt.timedelta(days=1),
        "night": dt.date(2026, 11, 25),
    }
    assert ledger.upsert_counts([count_row(f"{n}.jpg", **later) for n in range(70)]) == 0
    assert list(ledger.rows(Count)) == before


@pytest.mark.parametrize("change", [{"expected": 4}, {"probabilities": {"3": 1.0}}, {"verdict": None}])
def test_a_row_that_says_something_else_is_replaced(ledger: Ledger, change: dict[str, Any]) -> None:
    ledger.upsert_counts([count_row()])
    assert ledger.upsert_counts([count_row(run="run-2", **change)]) == 1
    [row] = ledger.rows(Count)
    assert dict(row._mapping) == count_row(run="run-2", **change)


def test_another_model_or_another_etag_is_another_row(ledger: Ledger) -> None:
    ledger.upsert_counts([count_row(), count_row(model="m2"), count_row(etag="e2")])
    assert ledger.size() == 3
    first, second = (photo_key("bucket", "bins/1.jpg", etag) for etag in ("e1", "e2"))
    assert ledger.known([first, second, "other"]) == {first, second}
    replaced = count_row(etag="e3", counted_at=MOMENT + dt.timedelta(hours=1))
    ledger.upsert_counts([replaced])
    assert ledger.current([first, second, replaced["photo"], "other"]) == {replaced["photo"]}


def test_a_night_shows_of_each_photo_what_was_last_said(ledger: Ledger) -> None:
    first, again = (MOMENT + dt.timedelta(hours=hours) for hours in (0, 1))
    ledger.upsert_counts(
        [count_row("bins/1.jpg"), count_row("bins/2.jpg"), count_row("other/3.jpg"), count_row("BINS/4.jpg")]
    )
    ledger.upsert_counts([count_row("bins/1.jpg", model="m2", verdict="match", score=0.1, counted_at=again)])

    def of_night() -> list[tuple[str, str]]:
        return [(row.photo_id, row.model) for row in ledger.of_night("bucket", "bins/", MOMENT.date(), "run-1")]

    assert of_night() == [("2", "m1"), ("1", "m2")]
    # The second model is turned away, and the first counts again: it says what it said, and is believed again.
    back = count_row("bins/1.jpg", counted_at=again + dt.timedelta(hours=1), run="run-3")
    assert ledger.upsert_counts([back]) == 1
    assert of_night() == [("1", "m1"), ("2", "m1")]
    assert ledger.upsert_counts([back | {"run": "run-4", "counted_at": first}]) == 0
    # Another file was put in its place; both are in one write where a night was picked up.
    old = count_row("bins/2.jpg", counted_at=again)
    ledger.upsert_counts([old, count_row("bins/2.jpg", etag="e2", counted_at=again, taken_at=again, score=0.2)])
    assert [(row.photo_id, row.etag) for row in ledger.of_night("bucket", "bins/", MOMENT.date(), "run-1")] == [
        ("1", "e1"),
        ("2", "e2"),
    ]


def test_a_night_shows_what_its_run_counted_again_though_nothing_changed(ledger: Ledger) -> None:
    ledger.upsert_counts([count_row("bins/1.jpg"), count_row("bins/2.jpg"), count_row("other/3.jpg")])
    day, later = dt.date(2026, 11, 25), MOMENT + dt.timedelta(days=1)
    tonight = {"night": day, "run": "run-2", "counted_at": later}
    again = [count_row(f"{where}.jpg", **tonight) for where in ("bins/1", "other/3")]
    assert ledger.upsert_counts([*again, count_row("bins/4.jpg", **tonight)]) == 1
    asked = [row["photo"] for row in again]
    assert [row.photo_id for row in ledger.of_night("bucket", "bins/", day, "run-2")] == ["4"]
    assert [row.photo_id for row in ledger.of_night("bucket", "bins/", day, "run-2", asked)] == ["1", "4"]
    ledger.upsert_counts([count_row("bins/1.jpg", model="m2", counted_at=later, night=day)])
    [first, _] = ledger.of_night("bucket", "bins/", day, "run-2", asked)
    assert (first.photo_id, first.model) == ("1", "m2")  # once, by what was said of it last


def test_what_was_last_said_is_found_by_an_index_even_where_all_files_have_one_name(tmp_path: Path) -> None:
    engine = open_engine(make_url(f"sqlite+pysqlite:///{tmp_path}/ledger.db"))
    query = select(Count.key).where(newest()).compile(engine, compile_kwargs={"literal_binds": True})
    with engine.connect() as connection:
        steps = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")]
    engine.dispose()
    assert any("bucket=? AND photo_id=? AND key=?" in step for step in steps), steps


def test_a_night_is_compared_with_one_run_a_day_of_its_model_and_with_its_bucket_where_its_prefix_is_new(
    ledger: Ledger,
) -> None:
    def record(run: str, prefix: str, day: int, hour: int = 3, confidence: float | None = 0.6, **more: Any) -> None:
        moment = dt.datetime(2026, 11, day, hour, tzinfo=dt.UTC)
        ledger.record_night(
            {
                "run": run, "night": moment.date(), "prefix": prefix, "model": "m", "finished_at": moment,
                "totals": {"counted": 9}, "mix": {"3": 1.0}, "confidence": confidence,
            }
            | more
        )  # fmt: skip

    def before(prefix: str, day: int, run: str = "tonight", **more: int) -> list[str]:
        return [night.run for night in ledger.nights_before(prefix, dt.date(2026, 11, day), run, "m", **more)]

    for day in range(1, 5):
        record(f"first-{day}", f"s3://bins/nights/{day}/", day)
        record(f"again-{day}", f"s3://bins/nights/{day}/", day, hour=4)
    record("empty", "s3://bins/nights/4/", 4, hour=5, confidence=None)
    record("elsewhere", "s3://bins-2/nights/4/", 4, hour=6)
    assert before("s3://bins/nights/5/", 5) == ["again-4", "again-3", "again-2", "again-1"]
    assert before("s3://bins/nights/5/", 5, most=2) == ["again-4", "again-3"]
    assert before("s3://bins", 4) == ["again-3", "again-2", "again-1"]  # not tonight's own earlier run
    assert before("s3://bins/nights/5/", 5, "again-4")[0] == "first-4"
    for day in range(6, 9):
        record(f"site-{day}", "s3://bins/site/", day)
    assert before("s3://bins/site/", 9) == ["site-8", "site-7", "site-6"]  # enough of its own
    [night] = ledger.nights_before("s3://bins/nights/9/", dt.date(2026, 11, 9), "tonight", "m", most=1)
    assert (night.totals, night.mix, night.confidence) == ({"counted": 9}, {"3": 1.0}, 0.6)
    record("site-8", "s3://bins/site/", 8, confidence=0.9)  # a run that is written again
    assert ledger.nights_before("s3://bins/site/", dt.date(2026, 11, 9), "tonight", "m")[0].confidence == 0.9
    record("recount", "s3://bins/site/", 8, hour=4, totals={"counted": 100_000, "recount": True})
    record("no-recount", "s3://bins/site/", 7, hour=4, totals={"counted": 9, "recount": False})
    record("other-model", "s3://bins/site/", 6, hour=4, model="n")
    record("repeated", "s3://bins/site/", 6, hour=5, model="")  # what the run before it counted
    assert before("s3://bins/site/", 9) == ["site-8", "no-recount", "site-6"]
    for day in range(10, 14):  # every pipeline ends with a night over photos that it held back
        record(f"test-{day}", f"s3://bins/nightly/2611{day}-120000/held-back/bin-images/", day)
    assert before("s3://bins/new/", 14, most=1) == ["site-8"]
    tests = ["test-13", "test-12", "test-11", "test-10"]
    assert before("s3://bins/nightly/261114-120000/held-back/bin-images/", 14) == tests


def test_photos_are_found_by_themselves_by_bin_and_by_id_oldest_first(ledger: Ledger) -> None:
    later = MOMENT + dt.timedelta(hours=1)
    first, again = count_row("a/1.jpg", bin="A"), count_row("a/1.jpg", bin="A", model="m2", counted_at=later)
    second, other = count_row("b/1.jpg", bin="A", taken_at=later), count_row("a/2.jpg", bucket="other")
    broken = count_row("c/1.jpg", bin="A", status="unreadable", count=None)
    ledger.upsert_counts([second, first, again, other, broken])
    found = ledger.latest([first["photo"], second["photo"], "unknown"])
    assert {photo: row.model for photo, row in found.items()} == {first["photo"]: "m2", second["photo"]: "m1"}
    by_id, by_bin = ledger.of_ids("bucket", ["1", "7"]), ledger.of_bins("bucket", ["A", "B"])
    assert [(row.key, row.model) for row in by_id] == [("a/1.jpg", "m1"), ("a/1.jpg", "m2"), ("b/1.jpg", "m1")]
    assert by_bin == by_id[1:]  # each by its newest row
    many = [str(number) for number in range(1200)]  # more than one query takes
    assert [row.key for row in ledger.of_ids("other", many)] == ["a/2.jpg"]


def test_of_a_bin_s_history_no_more_is_read_than_the_photo_before_each(ledger: Ledger) -> None:
    def photo(key: str, night: int, **more: Any) -> dict[str, Any]:
        moment = MOMENT + dt.timedelta(days=night)
        return count_row(key, **{"bin": "A1", "products": None, "taken_at": moment} | more)

    rows = [photo(f"n{night}.jpg", night) for night in range(90)]
    rows += [photo(f"{name}.jpg", 40) for name in ("Z", "a", "z")]  # of one moment
    rows += [
        photo("other.jpg", 89, bin="A2"),
        photo("dark.jpg", 89, status="unreadable", model=""),
        photo("00523.jpg", 89, products=["P"]),  # which ABID's numbers put into a bin of that name
        photo("tonight.jpg", 89, etag="what lay there"),
        photo("n89.jpg", 89, model="m2"),
    ]
    ledger.upsert_counts(rows)

    def before(*photos: dict[str, Any]) -> list[tuple[str, str]]:
        found = ledger.taken_before("bucket", [SimpleNamespace(**one) for one in photos])
        return sorted((row.key, row.model) for row in found)

    tonight = photo("tonight.jpg", 90)
    assert before(tonight) == [("n89.jpg", "m1"), ("n89.jpg", "m2")]
    assert before(photo("n7.jpg", 7), photo("first.jpg", 0), photo("new.jpg", 90, bin="A3")) == [("n6.jpg", "m1")]
    assert before(photo("n41.jpg", 41)) == [(f"{name}.jpg", "m1") for name in ("Z", "a", "n40", "z")]
    assert before(photo("Y.jpg", 40)) == [("n39.jpg", "m1")]  # the others of that moment come after it
    assert before(*(tonight | {"bin": f"B{number}"} for number in range(600)), tonight) == before(tonight)
    assert ledger.taken_before("elsewhere", [SimpleNamespace(**tonight)]) == []


def test_all_rows_of_a_write_are_kept_or_none(ledger: Ledger) -> None:
    rows = [count_row(f"{n}.jpg") for n in range(100)]
    rows[99]["bucket"] = None
    with pytest.raises(Exception, match=r"(?i)not.null"):
        ledger.upsert_counts(rows)
    assert ledger.size() == 0


def test_the_tables_are_those_of_the_models(ledger: Ledger) -> None:
    with ledger.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_a_ledger_can_be_taken_back_and_forth(ledger: Ledger) -> None:
    config = alembic_config()
    with writing(ledger.engine) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        command.upgrade(config, "head")
    assert ledger.size() == 0


def test_a_ledger_that_the_first_version_wrote_is_upgraded_with_its_rows(url: str) -> None:
    config, old = alembic_config(), create_engine(make_url(url))
    with old.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(Count.__table__.insert(), [count_row(), count_row("bins/2.jpg")])  # type: ignore[attr-defined]
    old.dispose()
    ledger = Ledger(open_engine(make_url(url)))
    assert [dict(row._mapping) for row in ledger.rows(Count)] == sorted(
        [count_row(), count_row("bins/2.jpg")], key=lambda row: str(row["photo"])
    )
    with ledger.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    assert {"ix_counts_night", "ix_counts_verdict_score"} <= {
        index["name"] for index in inspect(ledger.engine).get_indexes("counts")
    }
    ledger.engine.dispose()


def test_a_ledger_of_a_newer_version_is_refused_and_left_alone(ledger: Ledger, url: str) -> None:
    ledger.upsert_counts([count_row()])
    with writing(ledger.engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(LedgerError, match=r"newer Binventory.*9999.*Update"):
        open_engine(make_url(url))
    assert ledger.size() == 1


def test_several_that_open_a_new_ledger_at_once_make_it_once(url: str) -> None:
    def use(number: int) -> int:
        ledger = Ledger(open_engine(make_url(url)))
        ledger.upsert_counts([count_row(f"{number}-{n}.jpg") for n in range(40)])
        size = ledger.size()
        ledger.engine.dispose()
        return size

    with ThreadPoolExecutor(6) as pool:
        assert max(pool.map(use, range(6))) == 240


def test_a_writer_that_is_killed_leaves_nothing_half_written(tmp_path: Path) -> None:
    url = f"sqlite+pysqlite:///{tmp_path}/ledger.db"
    script = f"""
import os
from sqlalchemy import make_url
from tasks.ledger.database import open_engine, writing
from tasks.ledger.models import Count
from tests.ledgers import count_row
engine = open_engine(make_url({url!r}))
with writing(engine) as connection:
    connection.execute(Count.__table__.insert(), [count_row(f"{{n}}.jpg") for n in range(500)])
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == -9
    ledger = Ledger(open_engine(make_url(url)))
    assert ledger.size() == 0
    assert ledger.upsert_counts([count_row()]) == 1


def test_the_ledger_as_parquet(ledger: Ledger, tmp_path: Path) -> None:
    rows = [count_row(f"{n:03}.jpg", count=n % 6) for n in range(150)] + [count_row("x.jpg", probabilities=None)]
    ledger.upsert_counts([*rows, count_row("007.jpg", model="m2")])
    for reviewer, said in (("bob", "4"), ("ann", "1"), ("eve", "9")):
        answer(ledger, rows[7]["photo"], reviewer, said)
    assert undo(ledger, rows[7]["photo"], "eve") == rows[7]["photo"]
    assert export_ledger(ledger, tmp_path / "out" / "ledger.parquet") == 152
    columns = set(pq.read_schema(tmp_path / "out" / "ledger.parquet").names)
    assert columns == {*Count.__table__.columns.keys(), "answers"}
    found = {row["key"]: row for row in pq.read_table(tmp_path / "out" / "ledger.parquet").to_pylist()}
    assert found["008.jpg"]["count"] == 2
    assert [(each["reviewer"], each["answer"]) for each in found["007.jpg"]["answers"]] == [("bob", "4"), ("ann", "1")]
    assert found["008.jpg"]["answers"] == []
    assert dict(found["007.jpg"]["probabilities"]) == {1: 0.1, 2: 0.1, 3: 0.6, 4: 0.1, 5: 0.1}
    assert found["007.jpg"]["taken_at"] == MOMENT
    assert found["x.jpg"]["probabilities"] is None


def test_rows_of_a_night_as_parquet_are_those_alone_with_their_answers(ledger: Ledger, tmp_path: Path) -> None:
    rows = [count_row(f"{n:03}.jpg", bin=f"-{n}", run="run-2" if n % 2 else "run-1") for n in range(60)]
    ledger.upsert_counts(rows)
    for number in (7, 8):
        answer(ledger, rows[number]["photo"], "ann", "4")
    wanted = list(ledger.rows(Count, Count.run == "run-2"))
    export_rows(ledger, wanted, tmp_path / "night.parquet")
    found = pq.read_table(tmp_path / "night.parquet")
    assert found["key"].to_pylist() == [row.key for row in wanted]
    assert found["bin"].to_pylist() == [row.bin for row in wanted]  # unlike in the CSV, without an apostrophe before it
    answered = {row["key"]: row["answers"][0]["answer"] for row in found.to_pylist() if row["answers"]}
    assert answered == {"007.jpg": "4"}
    export_rows(ledger, [], tmp_path / "night.parquet")
    assert pq.read_table(tmp_path / "night.parquet").schema == found.schema


def test_counted_photos_without_a_quantity_are_found_by_night_and_place(ledger: Ledger) -> None:
    nothing: dict[str, Any] = {"expected": None, "verdict": "uncertain"}
    old = MOMENT.date() - dt.timedelta(days=15)
    ledger.upsert_counts(
        [
            count_row("bins/1.jpg", **nothing),
            count_row("bins/2.jpg"),
            count_row("bins/3.jpg", **nothing | {"night": old}),
            count_row("BINS/4.jpg", **nothing),
            count_row("bins/5.jpg", **nothing | {"status": "unreadable", "model": ""}),
            count_row("bins/6.jpg", **nothing),
            count_row("bins/6.jpg", model="m2", counted_at=MOMENT + dt.timedelta(hours=1)),
        ]
    )
    found = ledger.without_quantity("bucket", "bins/", MOMENT.date() - dt.timedelta(days=14))
    assert [row.key for row in found] == ["bins/1.jpg"]


def test_the_nights_of_runs_say_when_and_with_which_model_they_counted(ledger: Ledger) -> None:
    night = {"night": MOMENT.date(), "prefix": "s3://b/x", "finished_at": MOMENT, "totals": {}, "mix": {}}
    for run, model in (("a", "m1"), ("b", "m2"), ("c", "")):
        ledger.record_night(night | {"run": run, "model": model, "confidence": None})
    found = {run: (row.night, row.model) for run, row in ledger.nights_of({"a", "c", "unknown"}).items()}
    assert found == {"a": (MOMENT.date(), "m1"), "c": (MOMENT.date(), "")}


def test_the_setting_names_the_ledger() -> None:
    assert ledger_url(Settings(home=Path("/h"))).database == "/h/ledger.db"
    postgres = ledger_url(Settings(ledger="postgresql://u:secret@host/db"))
    assert postgres.drivername == "postgresql+psycopg"
    assert "secret" not in repr(Settings(ledger="postgresql://u:secret@host/db"))
    for wrong in ("nonsense", "mysql://host/db"):
        with pytest.raises(LedgerError, match="BINVENTORY_LEDGER"):
            ledger_url(Settings(ledger=wrong))


def test_a_file_that_is_no_ledger_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("a diary, " * 200)
    with pytest.raises(LedgerError, match=r"ledger\.db.*not a database"):
        open_engine(make_url(f"sqlite+pysqlite:///{tmp_path}/ledger.db"))


def test_a_server_that_is_down_is_named_without_its_password() -> None:
    with pytest.raises(TransientLedgerError, match=r"127\.0\.0\.1.*out of reach") as refused:
        open_engine(make_url("postgresql+psycopg://user:secret@127.0.0.1:9/ledger"))
    assert "secret" not in str(refused.value)
