"""What the data stage reports: tables of the catalog and of the split, for people and for Prefect's UI."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact

from tasks.atomic_file import write_atomically
from tasks.data.catalog import CatalogSummary
from tasks.data.contact_sheet import data_uri
from tasks.data.grouping import SplitPhotos
from tasks.data.listing_stage import BuiltList
from tasks.data.prepared_data import SPLITS, SplitName
from tasks.data.workspace import Workspace, explain_disk_errors


def catalog_table(summary: CatalogSummary) -> list[dict[str, Any]]:
    """Return one row per status and flag, with a few ids of each."""
    rows: list[dict[str, Any]] = []
    for kind, found in (("status", summary.by_status), ("flag", summary.by_flag)):
        for name, photos in sorted(found.items()):
            examples = ", ".join(summary.examples.get(name, [])[:8])
            rows.append({"kind": kind, "what": name, "photos": photos, "for example": examples})
    rows.append({"kind": "duplicates", "what": "same bytes", "photos": summary.duplicates, "for example": ""})
    return rows


def split_table(counts: Mapping[SplitName, Counter[int]]) -> list[dict[str, Any]]:
    """Return one row per count: photos in each split, and each split's share of that count less the whole's."""
    sizes = {split: counts[split].total() for split in SPLITS}
    total = sum(sizes.values())
    whole = sum((counts[split] for split in SPLITS), Counter[int]())
    rows = []
    for count in sorted(whole):
        row: dict[str, Any] = {"count": count, "photos": whole[count]}
        for split in SPLITS:
            row[split] = counts[split][count]
            share = counts[split][count] / sizes[split] if sizes[split] else 0.0
            row[f"{split}, points off"] = round(100 * (share - whole[count] / total), 2)
        rows.append(row)
    return rows


def ungrouped_text(split: SplitPhotos) -> str:
    """Say how many photos' twins cannot be told, because their ids are no numbers; empty if there are none."""
    if not split.without_number:
        return ""
    return (
        f"{split.without_number} of {len(split.splits)} ids are no numbers of at most 18 digits: their before/after "
        "photos are not recognised. One of a bin may be in train and another in test, and no share here counts that."
    )


def leak_text(split: SplitPhotos, mode: str) -> str:
    """Say how many twins were kept together, and what a random split would have leaked."""
    lines = [f"- {ungrouped}"] if (ungrouped := ungrouped_text(split)) else []
    lines += [
        f"- {split.in_sets} photos belong to before/after sets of one bin ({split.groups} bins in all).",
        f"- In this split ({mode}), {split.leak.with_twin_in_train} of {split.leak.test_photos} test photos "
        f"({split.leak.share:.1%}) have a photo of the same bin in train.",
    ]
    if mode == "grouped":
        lines.append(
            f"- A random split would have leaked {split.random_leak.share:.1%} of its test photos that way: "
            "every published number on ABID was measured so."
        )
    else:
        lines.append("- This split leaks on purpose, to compare with published numbers. Don't deploy on it.")
    return "\n".join(lines)


def write_split_report(
    workspace: Workspace, split: SplitPhotos, counts: Mapping[SplitName, Counter[int]], mode: str
) -> None:
    """Write ``reports/split.md``: what leaks, and each split's photos by count."""
    rows = split_table(counts)
    names = list(rows[0]) if rows else []
    lines = [names, ["---:"] * len(names), *([str(row[name]) for name in names] for row in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    with explain_disk_errors(workspace.folder):
        write_atomically(workspace.split_report, f"# The split\n\n{leak_text(split, mode)}\n\n{table}\n")


def publish_tables(
    dataset: str, summary: CatalogSummary, split: SplitPhotos, counts: Mapping[SplitName, Counter[int]], mode: str
) -> None:
    """Create the table artifacts of the catalog and of the split."""
    key = _key(dataset)
    create_table_artifact(catalog_table(summary), key=f"{key}-catalog", description=f"Catalog of {dataset}")
    create_table_artifact(split_table(counts), key=f"{key}-split", description=f"Split of {dataset}")
    create_markdown_artifact(leak_text(split, mode), key=f"{key}-leak", description=f"Leaks in {dataset}'s split")


def left_out_table(built: BuiltList) -> list[dict[str, Any]]:
    """Return one row per reason why records say no count, with a few ids of each."""
    rows = []
    for flag, photos in sorted(built.left_out_by_flag().items()):
        examples = [photo_id for photo_id, why in built.left_out if why == flag][:8]
        rows.append({"flag": flag, "photos": photos, "for example": ", ".join(examples)})
    return rows


def publish_left_out(dataset: str, built: BuiltList) -> None:
    """Create the table artifact of the records that are in no list."""
    what = f"{len(built.left_out)} of {built.records} records say no count: their photos are not in {dataset}"
    create_table_artifact(left_out_table(built), key=f"{_key(dataset)}-left-out", description=what)


def publish_contact_sheets(dataset: str, sheets: dict[int, Path]) -> None:
    """Create a picture artifact with a contact sheet for each count."""
    for count, path in sheets.items():
        create_image_artifact(
            data_uri(path), key=f"{_key(dataset)}-count-{count}", description=f"{dataset}: photos with count {count}"
        )


def _key(dataset: str) -> str:
    """Return the dataset's name as artifact keys allow it."""
    return dataset.replace(".", "-").replace("_", "-")
