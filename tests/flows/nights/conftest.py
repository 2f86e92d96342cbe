"""One installation for all nights of this folder: services that are up, an approved model that counts by brightness."""

from collections.abc import Iterator

import pytest

from tests.forking import Commands
from tests.installation import Installation
from tests.nights import Warehouse, approve_brightness


@pytest.fixture(scope="package")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Of an installation whose services are up, with an approved model."""
    running = Installation(tmp_path_factory.mktemp("warehouse") / "home")
    with running.services():
        approve_brightness(running)
        yield Commands(running)
    assert running.processes() == []


@pytest.fixture
def house(commands: Commands) -> Warehouse:
    return Warehouse(commands.installation, commands)
