"""The channels of the tests of training."""

from tests.training.conftest import channels

__all__ = ["channels"]
