"""What a night says of photos, records and models that are not as they should be; nothing is lost."""

import re
from pathlib import Path

from tests.nights import Warehouse, metadata, photo


def test_bad_input_is_reported_apart_and_loses_nothing(house: Warehouse) -> None:
    house.put_bin("00010", seen=3, expected=3)
    odd = ["with space.jpg", "ünï-数.jpg", "line\nend.jpg", "+plus &amp;=%20.jpg"]
    for number, name in enumerate(odd):
        house.put(f"bin-images/{name}", photo(number % 5 + 1, number))
    house.put("bin-images/broken.jpg", b"GIF89a, or rather nothing")
    house.put("bin-images/cut.jpg", photo(4)[:300])
    house.put("bin-images/empty.jpg", b"")
    house.put("bin-images/huge.jpg", photo(4) + b"\0" * 50_000_000)
    house.put("bin-images/large.jpg", photo(4) + b"\0" * 8_000_000)
    house.put("bin-images/notes.txt", b"not a photo")
    house.put("bin-images/negative.jpg", photo(2, 7))
    house.put("metadata/negative.json", metadata(-4))
    house.put("bin-images/garbled.jpg", photo(2, 8))
    house.put("metadata/garbled.json", b"{EXPECTED")
    house.put("bin-images/beyond.jpg", photo(6, 9))
    house.put("metadata/beyond.json", metadata(3))
    house.put("bin-images/many.jpg", photo(5, 10))
    house.put("metadata/many.json", metadata(40))
    said = house.night()
    assert not re.search("^Traceback", said, re.MULTILINE)  # the model's own log, which is shown, has one
    assert "4 photos unreadable" in said
    rows = {row["key"].removeprefix("bin-images/"): row for row in house.rows().values()}
    assert set(rows) == {
        *odd, "00010.jpg", "broken.jpg", "cut.jpg", "empty.jpg", "huge.jpg", "large.jpg", "negative.jpg",
        "garbled.jpg", "beyond.jpg", "many.jpg",
    }  # fmt: skip
    assert [rows[name]["count"] for name in odd] == [1, 2, 3, 4]
    unreadable = {name: row["reason"] for name, row in rows.items() if row["status"] == "unreadable"}
    assert set(unreadable) == {"broken.jpg", "cut.jpg", "empty.jpg", "huge.jpg"}
    assert "not a whole JPEG" in unreadable["broken.jpg"]
    assert "at most 20,971,520" in unreadable["huge.jpg"]
    assert rows["large.jpg"]["count"] == 4
    assert "no EXPECTED_QUANTITY" in rows["negative.jpg"]["record_problem"]
    assert "not JSON" in rows["garbled.jpg"]["record_problem"]
    assert "no entry" in rows["with space.jpg"]["record_problem"]
    assert "than the model can count" in rows["beyond.jpg"]["verdict_reason"]
    assert "40 is beyond" in rows["many.jpg"]["verdict_reason"]
    assert house.installation.summary()["night"]["skipped"] == {"not a photo by its name": 1}
    left = house.s3.list_objects_v2(Bucket="binventory", Prefix="nightly/").get("Contents", [])
    assert not [item["Key"] for item in left if "/copies/" in item["Key"]]

    # The embedded S3, rclone over a folder, lists a line end otherwise once its cache of the folder is over.
    house.s3.delete_object(Bucket=house.bucket, Key="bin-images/line\nend.jpg")
    house.night()  # unreadable photos are not tried again
    assert len(house.rows()) == len(rows)


def test_a_record_as_csv_with_its_oddities(house: Warehouse, tmp_path: Path) -> None:
    for name in ("00523", "523", "7", "8", "9", "10"):
        house.put(f"bin-images/{name}.jpg", photo(2, len(name)))
    record = tmp_path / "record.csv"
    record.write_text(
        'id,expected,bin\n00523,2,A1\n523,5,A2\n7,-3,A3\n8,two,A4\nbin-images/9.jpg,2,"B,9"\n9,4,C\n99999,1,X\n'
    )
    house.night("--record", str(record))
    rows = {row["photo_id"]: row for row in house.rows().values()}
    assert (rows["00523"]["expected"], rows["00523"]["bin"], rows["00523"]["verdict"]) == (2, "A1", "match")
    assert (rows["523"]["expected"], rows["523"]["bin"], rows["523"]["verdict"]) == (5, "A2", "mismatch")
    assert rows["7"]["record_problem"] == "row 3 expects '-3', which is no whole number from 0"
    assert "'two'" in rows["8"]["record_problem"]
    assert "contradicts itself" in rows["9"]["record_problem"]
    assert "no entry" in rows["10"]["record_problem"]

    record.write_text("bin,amount\nA,1\n")
    house.put("bin-images/11.jpg", photo(1, 11))
    said = house.night("--record", str(record), code=1)
    assert "has the columns bin, amount; the record needs one of key, photo, id" in " ".join(said.split())
    assert len(house.rows()) == 6


def test_a_record_of_other_photos_fails_the_night(house: Warehouse, tmp_path: Path) -> None:
    house.put("bin-images/00523.jpg", photo(2, 1))
    house.put("bin-images/00524.jpg", photo(3, 2))
    record = tmp_path / "record.csv"
    record.write_text("id,expected\n523,2\n524,3\n")
    said = " ".join(house.night("--record", str(record), code=1).split())
    assert "none of 2 counted photos has an entry in the record" in said
    assert "'bin-images/00523.jpg', a row '523'" in said
    assert {row["count"] for row in house.rows().values()} == {2, 3}
    page = (house.installation.home / "runs" / "latest" / "report.html").read_text()
    assert "Nothing was judged" in page
    assert "none of 2 counted photos" in page
    assert "none of 2 counted photos" in house.installation.summary()["night"]["remarks"][0]
    assert house.told("binventory.night.without-record")

    jobs = house.jobs()
    record.write_text("id,expected\n00523,2\n00524,5\n")
    assert "2 photos counted, 1 mismatches" in house.night("--record", str(record))
    assert house.jobs() == jobs  # judged by what was counted before
    assert house.rows()["bin-images/00524.jpg brightness-1"]["verdict"] == "mismatch"


def test_without_an_approved_model_nothing_is_counted_and_a_person_is_told(house: Warehouse) -> None:
    house.put_bin("1", seen=1, expected=1)
    house.installation.environment["BINVENTORY_MODEL_GROUP"] = "nothing-in-here"
    try:
        said = house.night(code=1)
    finally:
        del house.installation.environment["BINVENTORY_MODEL_GROUP"]
    assert "no model in the group 'nothing-in-here' is approved" in " ".join(said.split())
    assert house.rows() == {}
    house.night()
    assert len(house.rows()) == 1
