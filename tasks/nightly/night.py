"""One night's work in progress, handed from task to task."""

import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

from tasks.ledger.ledger import Ledger
from tasks.nightly.judge import Policy
from tasks.nightly.outcomes import Outcome
from tasks.nightly.parameters import NightParameters
from tasks.nightly.photos import NightPhoto
from tasks.nightly.plan import Chunk, Plan
from tasks.prices import Cost
from tasks.settings import Settings


def date_of(moment: dt.datetime, settings: Settings) -> dt.date:
    """The date that a night has: that of the time zone in which nights are scheduled."""
    return moment.astimezone(ZoneInfo(settings.timezone)).date()


class Night:
    """What a night has to do, and what is known so far.

    A plain class on purpose: Prefect searches the arguments of its tasks for futures, through every dataclass and
    model, and would walk over twenty thousand photos at each step.
    """

    def __init__(
        self, parameters: NightParameters, ledger: Ledger, settings: Settings, run_id: str, folder: Path, date: dt.date
    ) -> None:
        self.parameters, self.ledger, self.settings = parameters, ledger, settings
        self.run_id, self.folder, self.date = run_id, folder, date
        self.plan = Plan()
        self.outcomes: dict[str, Outcome] = {}
        self.late: set[str] = set()
        self.model = ""
        self.serving_model = ""
        self.policy = Policy()
        self.remarks: list[str] = []
        self.cost: Cost | None = None

    def take_plan(self, plan: Plan) -> None:
        """Take on what was found; photos that are not even tried have their outcome already."""
        self.plan = plan
        self.outcomes = {
            photo: Outcome(status="unreadable", reason=reason) for photo, reason in plan.unreadable.items()
        }

    def endpoint_for(self, chunk: Chunk) -> str | None:
        """The endpoint that counts these photos; None where a job does: an endpoint takes no large ones."""
        return None if chunk.large else self.parameters.endpoint

    @property
    def counted(self) -> set[str]:
        """Photos of which this run wrote a row, or found the row that it would have written."""
        return {photo for photo, outcome in self.outcomes.items() if outcome.status != "uncounted"}

    @property
    def uncounted(self) -> list[tuple[NightPhoto, str]]:
        """Photos that were given up for now, and why."""
        found = ((photo, self.outcomes[photo.photo]) for photo in self.plan.photos)
        return [(photo, outcome.reason or "") for photo, outcome in found if outcome.status == "uncounted"]
