"""From a list of ids to trainable data on S3: ``python -m flows.prepare_data --help``."""

from prefect import flow

from tasks.prepared_data import PreparedData, PrepareParameters


@flow(name="prepare-data")
def prepare_data(parameters: PrepareParameters) -> PreparedData:
    """Fetch, check, split, pack and upload the photos that ``parameters`` name."""
    raise NotImplementedError
