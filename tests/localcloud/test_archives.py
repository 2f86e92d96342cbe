"""Archives as the training container takes them."""

import tarfile
from pathlib import Path

import pytest

from localcloud.archives import ArchiveError, extract


@pytest.mark.parametrize("compression", ["", "xz"])
def test_a_source_archive_that_is_no_tar_gz_is_refused_as_by_the_container(tmp_path: Path, compression: str) -> None:
    (tmp_path / "train.py").write_text("print('hello')")
    archive = tmp_path / "sourcedir.tar.gz"
    with tarfile.open(archive, f"w:{compression}") as tar:  # type: ignore[call-overload]
        tar.add(tmp_path / "train.py", "train.py")
    with pytest.raises(ArchiveError, match=r"cannot extract sourcedir\.tar\.gz: .*gzip"):
        extract(archive, tmp_path / "code")
