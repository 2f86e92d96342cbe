"""The arithmetic of a model is bfloat16 only where that is quicker as served, and says the same."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from prefect.logging import disable_run_logger

from serving import inference
from tasks.data.prepared_data import ImageCounts, PreparedData, SplitCounts
from tasks.data.split_photos import Photo
from tasks.evaluation import looking
from tasks.evaluation.evaluate import with_precision
from tasks.settings import Settings
from tests.serving.photos import encoded, picture
from tests.tasks.evaluation.looks import model

PHOTOS = 200
DATA = PreparedData(
    dataset="d", folder=Path("d"), catalog=Path("c"), uri="s3://b/d", digest="", counts={},
    images=ImageCounts(listed=0, downloaded=0, reused=0, missing=0, corrupt=0, label_mismatch=0),
    splits=SplitCounts(train=0, valid=PHOTOS, test=0, grouped=True),
)  # fmt: skip


class Racer(inference.Model):
    """A model whose speed and answers are known; time is what it says."""

    def __init__(self, seconds: float, different: int) -> None:
        """bfloat16 takes so many seconds a photo where float32 takes one, and differs on so many photos."""
        plain = model()
        super().__init__(plain.network, plain.card)
        self.seconds, self.different = {"float32": 1.0, "bfloat16": seconds}, different
        self.clock, self.served = 0.0, set[tuple[int, int]]()

    def probabilities(self, pixels: torch.Tensor, precision: str | None = None) -> torch.Tensor:
        assert precision is not None
        self.clock += self.seconds[precision] * len(pixels)
        racing = torch.get_num_threads() == 1
        if racing:
            self.served.add((len(pixels), 1))
        answers = torch.zeros(len(pixels), 5)
        answers[:, 0] = 1
        if precision == "bfloat16" and not racing:
            wrong, self.different = min(self.different, len(pixels)), max(0, self.different - len(pixels))
            answers[:wrong] = answers[:wrong].roll(1, dims=1)
        return answers


@pytest.fixture
def valid(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A validation split of equal photos, and more than one thread to compute on."""
    photos = [Photo(photo_id=str(number), count=1, key=f"valid/1/{number}.jpg") for number in range(PHOTOS)]
    monkeypatch.setattr(looking, "list_photos", lambda data, split: photos)
    monkeypatch.setattr(looking, "fetch_photos", lambda data, batch: [encoded(picture((32, 32)))] * len(batch))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("valid")
@pytest.mark.parametrize(
    ("seconds", "different", "chosen"),
    [
        (0.5, 0, "bfloat16"),
        (0.5, 1, "bfloat16"),  # of 200, just enough agree
        (0.5, 2, "float32"),
        (0.9, 0, "float32"),  # quicker, but not by enough
        (2.0, 0, "float32"),
    ],
)
def test_bfloat16_is_taken_where_it_is_quicker_and_agrees(
    seconds: float, different: int, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    racer = Racer(seconds, different)
    monkeypatch.setattr(looking, "time", SimpleNamespace(perf_counter=lambda: racer.clock))
    found, agreement = looking.choose_precision(racer, DATA)
    assert (found, agreement) == (chosen, 1 - different / PHOTOS)
    assert racer.served == {(8, 1)}


@pytest.mark.usefixtures("valid")
def test_the_setting_overrules_the_race(monkeypatch: pytest.MonkeyPatch) -> None:
    racer = Racer(0.5, 0)
    monkeypatch.setattr(looking, "time", SimpleNamespace(perf_counter=lambda: racer.clock))
    with disable_run_logger():
        assert with_precision(racer, DATA, Settings()).card.precision == "bfloat16"
    assert with_precision(racer, DATA, Settings(serving_precision="float32")).card.precision == "float32"
    # On AWS, what serves by default has no AMX.
    assert with_precision(racer, DATA, Settings(target="aws", bucket="bins")).card.precision == "float32"
