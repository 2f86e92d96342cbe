"""Compute a frozen backbone's features once; the entry script of the job before tuning with the frozen recipe."""

from training.channels import Channels
from training.distributed import World
from training.features import compute
from training.hyperparameters import Hyperparameters
from training.job import main
from training.observer import Observer


def job(recipe: Hyperparameters, channels: Channels, observer: Observer | None, world: World | None) -> None:
    """Compute and store; the recipe's backbone and image size are what counts. Of several processes the first does."""
    if world is None or world.main:
        compute(recipe, channels)


if __name__ == "__main__":
    raise SystemExit(main(job))
