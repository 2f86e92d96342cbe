"""What is said about a split."""

from collections import Counter
from pathlib import Path

from tasks.data.grouping import SplitPhotos
from tasks.data.prepared_data import SplitName
from tasks.data.report import leak_text, write_split_report
from tasks.data.split import Leak
from tasks.data.workspace import Workspace

COUNTS: dict[SplitName, Counter[int]] = {
    "train": Counter({2: 12, 3: 4}),
    "valid": Counter({2: 2}),
    "test": Counter({2: 1, 3: 1}),
}


def a_split(leaking: int) -> SplitPhotos:
    return SplitPhotos([], Leak(200, leaking), Leak(200, 97), in_sets=1200, groups=1500)


def test_a_grouped_split_says_what_a_random_one_would_have_leaked() -> None:
    said = leak_text(a_split(0), "grouped")
    assert "1200 photos belong to before/after sets of one bin (1500 bins in all)" in said
    assert "(grouped), 0 of 200 test photos (0.0%) have a photo of the same bin in train" in said
    assert "A random split would have leaked 48.5%" in said


def test_a_random_split_says_what_it_leaks_and_what_it_is_for() -> None:
    said = leak_text(a_split(97), "random")
    assert "(random), 97 of 200 test photos (48.5%)" in said
    assert "leaks on purpose" in said
    assert "would have" not in said


def test_the_report_is_a_file_too(tmp_path: Path) -> None:
    write_split_report(Workspace(tmp_path), a_split(0), COUNTS, "grouped")
    lines = (tmp_path / "reports/split.md").read_text().splitlines()
    assert leak_text(a_split(0), "grouped").splitlines() == [line for line in lines if line.startswith("- ")]
    table = [line.strip("|").split("|") for line in lines if line.startswith("|")]
    assert [cell.strip() for cell in table[0]][:4] == ["count", "photos", "train", "train, points off"]
    assert [[cell.strip() for cell in row][:4] for row in table[2:]] == [
        ["2", "15", "12", "0.0"],
        ["3", "5", "4", "0.0"],
    ]
