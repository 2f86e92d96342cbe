"""What a night flagged, reviewed and exported."""

import re
from pathlib import Path

import httpx
import pyarrow.parquet as pq

from tests.nights import Warehouse


def test_the_review_of_a_night_is_served_to_others_by_its_link_and_exported(house: Warehouse, tmp_path: Path) -> None:
    house.put_bin("10", seen=1, expected=4)
    house.night()
    serving = house.installation.start("flows.review", "--host", "0.0.0.0", "--port", "0")  # noqa: S104 - what is tested
    try:
        assert serving.stdout
        said = ""
        while "Open " not in said:
            line = serving.stdout.readline()
            assert line, said
            said += line
        assert "Warning: other machines can reach the page" in said
        [(port, token)] = re.findall(r"Open http://0\.0\.0\.0:(\d+)/\?token=(\S{24,})", said)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            assert client.get("/").status_code == 403
            assert client.get(f"/?token={token}").status_code == 303
            client.post("/enter", data={"name": "ann"})
            [row] = house.rows().values()
            assert row["photo"] in client.get("/review").text
            assert client.post("/answer", data={"photo": row["photo"], "answer": "1"}).status_code == 303
    finally:
        serving.terminate()
        serving.communicate(timeout=60)
    labels, whole = tmp_path / "labels.parquet", tmp_path / "ledger.parquet"
    said = house.commands.run("flows.review", "--export", str(labels), "--export-ledger", str(whole))
    assert f"1 labels are in {labels}" in said
    assert f"1 rows are in {whole}" in said
    assert pq.read_table(labels).select(["id", "count"]).to_pylist() == [{"id": "10", "count": 1}]
    [exported] = pq.read_table(whole).to_pylist()
    assert [each["answer"] for each in exported["answers"]] == ["1"]
