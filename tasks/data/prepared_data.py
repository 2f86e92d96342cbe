"""What the data stage takes and what it hands on: the seam between it and everything after it."""

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from training.errors import WorkspaceError

SplitName = Literal["train", "valid", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "valid", "test")
"""The three splits, in the order in which they are always shown."""

_DATASET = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")


class PrepareParameters(BaseModel):
    """What to prepare, and how. Prefect's UI and the command line are made from this model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(
        "demo",
        title="Source",
        description='Where photos come from: "demo" (rendered here), "abid" (the public bucket), or "s3://bucket".',
    )
    source_endpoint: str | None = Field(
        None,
        title="Source endpoint",
        description="Where the source's bucket is, if elsewhere than S3 in general: with "
        "https://s3.us-east-1.amazonaws.com a laptop's run reads the public bucket itself.",
    )
    file_list: str | None = Field(
        None,
        title="File list",
        description="Ids in the format of the course's file_list.json: a path, an https URL or an s3:// URI. "
        "Default: the file_list.json of the source's bucket; none is known in the public one.",
    )
    all: bool = Field(
        False, title="Everything", description="List the bucket and build the list from its metadata instead."
    )
    classes: tuple[int, ...] = Field(
        (1, 2, 3, 4, 5),
        title="Classes",
        description="The counts that the model answers. With Everything (--all) also those that the list keeps; empty "
        "([] on the command line) keeps all, and the model answers 1 to 5.",
    )
    labels: Path | None = Field(
        None,
        title="Labels",
        description="Counts that people gave, as Parquet (id, count): they overrule the record's. "
        "`python -m flows.review --export` writes such a file.",
    )
    write_file_list: Path | None = Field(
        None,
        title="Write file list",
        description="With Everything (--all): also write the list that was built, here.",
    )
    limit: int | None = Field(
        None, ge=1, title="Limit", description="Use at most so many photos, in the list's class shares."
    )
    per_class_limit: int | None = Field(
        None, ge=1, title="Limit per class", description="Use at most so many photos of each count."
    )
    seed: int = Field(
        0,
        ge=0,
        le=2**31 - 2,  # the search's is one more, and SageMaker takes 32 bits
        title="Seed",
        description="Of the sample, the split and the demo's photos; in training of weights, order and augmentation.",
    )
    split: Literal["grouped", "random"] = Field(
        "grouped",
        title="Split",
        description='"grouped" keeps the photos of one bin together. "random" scatters them, as published '
        "numbers do, and leaks: only to compare with those.",
    )
    dataset: str | None = Field(
        None, title="Dataset", description="Name of the folder and the S3 prefix. Default: the source's name."
    )
    shard_size: int = Field(
        224,
        ge=32,
        le=2048,
        title="Shard size",
        description="Side in pixels of the photos in the packed shards.",
    )
    demo_photos: int = Field(
        800, ge=10, le=1_000_000, title="Demo photos", description="How many the demo source renders."
    )
    max_bad_fraction: float = Field(
        0.2,
        ge=0,
        le=1,
        title="Bad photos allowed",
        description="The run fails when a larger share of the listed photos is missing or unreadable.",
    )
    refresh: bool = Field(
        False,
        title="Refresh",
        description="Ask the source whether photos and metadata that are here already have changed there.",
    )
    runner: Literal["threads", "dask"] = Field(
        "threads", title="Task runner", description="Where chunks run: threads here, or a Dask cluster."
    )
    dask_address: str | None = Field(
        None,
        title="Dask scheduler",
        description="With the dask runner: a scheduler that is up, like tcp://host:8786. Default: start one here.",
    )

    @field_validator("source")
    @classmethod
    def _source_is_known(cls, source: str) -> str:
        if source in ("demo", "abid") or re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/?", source):
            return source.rstrip("/")
        raise ValueError(f'source is "demo", "abid" or "s3://bucket", not {source!r}')

    @field_validator("source_endpoint")
    @classmethod
    def _endpoint_is_a_url(cls, endpoint: str | None) -> str | None:
        if endpoint is not None and not re.fullmatch(r"https?://[^/\s]+/?", endpoint):
            raise ValueError(f"source_endpoint looks like https://s3.us-east-1.amazonaws.com, not {endpoint!r}")
        return endpoint

    @field_validator("dataset")
    @classmethod
    def _dataset_is_a_name(cls, dataset: str | None) -> str | None:
        if dataset is not None and not _DATASET.fullmatch(dataset):
            raise ValueError("dataset is a name of lower-case letters, digits, '.', '_' and '-'")
        return dataset

    @model_validator(mode="after")
    def _one_list(self) -> "PrepareParameters":
        if self.all and self.file_list is not None:
            raise ValueError("--all builds the list itself: give either it or a file list")
        if self.write_file_list is not None and not self.all:
            raise ValueError("--write-file-list goes with --all")
        return self

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> "PrepareParameters":
        if self.dask_address is not None and self.runner != "dask":
            raise ValueError("--dask-address goes with --runner dask")
        if self.source_endpoint is not None and self.source == "demo":
            raise ValueError("--source-endpoint goes with --source abid or s3://bucket: the demo is rendered here")
        return self

    @property
    def dataset_name(self) -> str:
        """The dataset's name: as given, or the source's."""
        return self.dataset or self.source.removeprefix("s3://")


class ImageCounts(BaseModel):
    """What became of the listed photos."""

    model_config = ConfigDict(frozen=True)

    listed: int = Field(description="Photos in the list, after limits.")
    downloaded: int = Field(description="Fetched by this run.")
    reused: int = Field(description="Whole already, so not fetched again.")
    missing: int = Field(description="Absent from the source, forbidden there, or without a count.")
    unreachable: int = Field(0, description="Given up after several tries; the next run asks again.")
    corrupt: int = Field(description="Unreadable; quarantined.")
    label_mismatch: int = Field(description="List and metadata disagree on the count; metadata wins.")


class SplitCounts(BaseModel):
    """Photos in each split."""

    model_config = ConfigDict(frozen=True)

    train: int
    valid: int
    test: int
    grouped: bool = Field(description="Whether each bin's photos are in one split.")


class PreparedData(BaseModel):
    """A dataset that is ready for training: where it is, what is in it, and its fingerprint."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    source: str = Field("", description="Where its photos are from, as the parameters name it; absent in older runs.")
    folder: Path = Field(description="Local workspace: catalog.parquet, train_data/<count>/<id>.jpg, quarantine/.")
    catalog: Path
    uri: str = Field(description="s3://bucket/datasets/<dataset>; shards are under shards/{train,valid,test}/.")
    digest: str = Field(description="SHA-256 of the manifest: equal digests mean equal data.")
    images: ImageCounts
    splits: SplitCounts
    counts: dict[SplitName, dict[int, int]] = Field(description="Photos by split and count.")

    def here(self) -> "PreparedData":
        """Return itself, if its folder is still where it was prepared.

        Raises:
            WorkspaceError: it was moved or deleted.
        """
        if not self.catalog.exists():
            raise WorkspaceError(
                f"The dataset {self.dataset} is not in {self.folder} any more, where it was prepared: begin with "
                "prepare, which fetches what is missing into the splits of its manifest."
            )
        return self

    def shards_uri(self, split: SplitName) -> str:
        """Return the S3 prefix of one split's packed shards, as a training channel takes it."""
        return f"{self.uri}/shards/{split}/"
