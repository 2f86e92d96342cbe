"""How much of a list must be usable."""

from collections import Counter
from pathlib import Path

import pytest

from tasks.data.catalog import CatalogSummary, refuse_too_many_bad
from tasks.data.workspace import Workspace
from training.errors import TooManyBadPhotosError


def test_no_usable_photo_is_said_as_such(tmp_path: Path) -> None:
    none = CatalogSummary(listed=3, by_status=Counter({"missing": 2, "corrupt: empty": 1}))
    with pytest.raises(
        TooManyBadPhotosError, match=r"None of the 3 listed .*\(2 missing, 1 corrupt: empty\)"
    ) as caught:
        refuse_too_many_bad(none, 1.0, Workspace(tmp_path))
    assert "allowed" not in str(caught.value)
    assert "--max-bad-fraction" not in str(caught.value)


def test_as_many_bad_photos_as_are_allowed_are_let_pass(tmp_path: Path) -> None:
    some = CatalogSummary(listed=4, usable=3, by_status=Counter({"ok": 3, "missing": 1}))
    refuse_too_many_bad(some, 0.25, Workspace(tmp_path))
    with pytest.raises(TooManyBadPhotosError, match=r"1 of 4 listed .*\(1 missing\); 20% are allowed"):
        refuse_too_many_bad(some, 0.2, Workspace(tmp_path))
