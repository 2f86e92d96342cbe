"""Every error that this project raises on purpose, in one tree.

It lives in the lowest room, because training and serving containers need it too. A message says what is
wrong, where, and what to do about it.
"""


class BinventoryError(Exception):
    """Anything that went wrong in a way we foresaw. The command line prints it without a traceback."""


class SettingsError(BinventoryError):
    """A setting is unknown, missing or contradictory."""


class HomeError(BinventoryError):
    """The home folder cannot be made or written to, or its disk is full."""


class RunError(BinventoryError):
    """A run cannot be picked up or taken from: there is none, it is complete, or it lacks a stage."""


class CloudError(BinventoryError):
    """The cloud (AWS or localcloud) cannot be reached, or refuses the credentials."""


class DataError(BinventoryError):
    """Something is wrong with the data that was given."""


class FileListError(DataError):
    """The file list cannot be read, or lists something that it may not."""


class TransferError(CloudError, ConnectionError):
    """Reading from or writing to S3 failed in a way that may pass: the same call is worth another try."""


class WorkerError(BinventoryError, ConnectionError):
    """A process that worked for a run died, for want of memory perhaps: the same call is worth another try."""


class WorkspaceError(DataError):
    """The local folder of a dataset cannot be used: read-only, full, or used by another run."""


class SourceError(DataError):
    """The source of photos cannot be read: no such bucket, or no access to it."""


class ForbiddenObjectError(SourceError):
    """One object may not be read, or its bucket doesn't say whether it is there; others may well be readable."""


class TooManyBadPhotosError(DataError):
    """More photos were missing or unreadable than the set fraction allows."""


class PhotoError(DataError):
    """One photo cannot be read as a picture."""


class LargePhotoError(PhotoError):
    """One photo has more bytes or pixels than are read."""


class TrainingError(BinventoryError):
    """Training cannot start or cannot go on."""


class InterruptedTrainingError(TrainingError):
    """Training was told to end before it was done; where it has checkpoints, the next start goes on from there."""


class DebuggerError(BinventoryError):
    """A job's debugger records cannot be found or read, or a rule is told something that makes no sense."""


class ModelError(BinventoryError):
    """A model archive cannot be loaded, or does not fit what it is used for."""


class JobError(BinventoryError):
    """A SageMaker job failed, was stopped, or did not end in time; carries its name, where one training is meant."""

    def __init__(self, message: str, job: str = "") -> None:
        super().__init__(message)
        self.job = job


class DeploymentError(BinventoryError):
    """A model could not be put behind an endpoint, or the endpoint does not answer as it should."""


class FaultyModelError(DeploymentError):
    """The deployed model itself is at fault: its container does not come up, or fails, or it answers wrongly."""


class NoAnswerError(DeploymentError, ConnectionError):
    """An endpoint gave no answer, not even a refusal, in several tries: the same request is worth another one."""


class RequestError(BinventoryError):
    """A request to the endpoint is refused; carries the HTTP status that says why."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class LedgerError(BinventoryError):
    """The ledger cannot be opened or used, or was written by a newer version."""


class TransientLedgerError(LedgerError, ConnectionError):
    """The ledger's database is busy, or out of reach for now: the same call is worth another try."""


class LeaseError(LedgerError):
    """Somebody else is at something that only one may be at; carries what that one said it is for."""

    def __init__(self, message: str, purpose: str = "") -> None:
        super().__init__(message)
        self.purpose = purpose


class NightError(BinventoryError):
    """A night's count needs a person: photos that stayed uncounted, nothing to count with, or a record of others."""


class ReviewError(BinventoryError):
    """Something is asked of the review that it cannot do."""
