"""Where a job finds what it was given and leaves what it made: SageMaker's ``SM_*`` variables."""

import dataclasses
import os
import tarfile
import tempfile
from pathlib import Path

from training.errors import TrainingError


@dataclasses.dataclass(frozen=True)
class Channels:
    """Where the container has what the job was given, and where it wants results.

    Source of the names: SageMaker Training Toolkit, ENVIRONMENT_VARIABLES.md.
    """

    train: Path
    valid: Path
    weights: Path | None
    model: Path
    output: Path
    checkpoints: Path | None = None
    features: Path | None = None

    @classmethod
    def from_environment(cls) -> "Channels":
        """Read the ``SM_*`` variables.

        Raises:
            TrainingError: one that is needed is absent.
        """

        def needed(name: str) -> Path:
            if name not in os.environ:
                raise TrainingError(
                    f"{name} is not set: SageMaker sets it inside a job. By hand, set SM_CHANNEL_TRAIN and "
                    "SM_CHANNEL_VALID to folders of photos, and SM_MODEL_DIR and SM_OUTPUT_DATA_DIR."
                )
            return Path(os.environ[name])

        weights, features = os.environ.get("SM_CHANNEL_WEIGHTS"), os.environ.get("SM_CHANNEL_FEATURES")
        # AWS has a fixed path for checkpoints and no variable; the folder is there when the job syncs it.
        checkpoints = Path(os.environ.get("SM_CHECKPOINT_DIR", "/opt/ml/checkpoints"))
        return cls(
            train=Path(features) if features else needed("SM_CHANNEL_TRAIN"),  # both splits' features are in one file
            valid=Path(features) if features else needed("SM_CHANNEL_VALID"),
            weights=Path(weights) if weights else None,
            model=needed("SM_MODEL_DIR"),
            output=needed("SM_OUTPUT_DATA_DIR"),
            checkpoints=checkpoints if checkpoints.is_dir() else None,
            features=Path(features) if features else None,
        )

    def check_writable(self) -> None:
        """Find out before the work, and not after it, that its results could not be left.

        Raises:
            TrainingError: a folder cannot be made, or written to.
        """
        for folder in (self.model, self.output, *([self.checkpoints] if self.checkpoints else [])):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder):
                    pass
            except OSError as error:
                raise TrainingError(
                    f"the job cannot write to {folder}: {error}; give it a folder that it can"
                ) from error

    def pretrained(self, *, needed: bool = False) -> Path | None:
        """The file in the weights channel, if there is such a channel.

        Raises:
            TrainingError: there is none though it is needed, or it holds no weights.
        """
        if self.weights is None:
            if needed:
                raise TrainingError(
                    "a frozen backbone is of use with pretrained weights only: give the job a channel weights, or by "
                    "hand set SM_CHANNEL_WEIGHTS to a folder with their .pth file"
                )
            return None
        files = sorted(self.weights.glob("*.pth"))
        if not files:
            raise TrainingError(f"the channel {self.weights} holds no .pth file with pretrained weights")
        return files[0]

    def stored_features(self, scratch: Path) -> Path | None:
        """The file in the features channel; out of the archive that the job before left it in.

        Raises:
            TrainingError: the channel holds neither.
        """
        if self.features is None:
            return None
        for archive in sorted(self.features.rglob("*.tar.gz")):
            try:
                with tarfile.open(archive) as packed:
                    packed.extractall(scratch, filter="data")
            except (tarfile.TarError, OSError, EOFError) as error:
                raise TrainingError(f"the features in {archive} cannot be unpacked: {error}") from error
        found = sorted((*self.features.rglob("features.pt"), *scratch.rglob("features.pt")))
        if not found:
            raise TrainingError(f"the channel {self.features} holds no features.pt, packed or not")
        return found[0]
