"""What a container is told, and what goes with a model into the registry."""

from tasks.release.package import container_environment
from tasks.settings import Settings
from training.memory import SERVING_ENVIRONMENT


def test_the_container_is_told_how_much_at_once_where_photos_come_from_and_how_to_keep_memory() -> None:
    here = Settings(photo_hosts="cameras.lan=10.20.0.0/16", photo_buckets="photos,more", serving_workers=5)
    environment = container_environment(here)
    assert SERVING_ENVIRONMENT
    assert environment == SERVING_ENVIRONMENT | {
        "SAGEMAKER_PROGRAM": "inference.py",
        "SAGEMAKER_MODEL_SERVER_WORKERS": "5",
        "BINVENTORY_PHOTO_HOSTS": "cameras.lan=10.20.0.0/16",
        "BINVENTORY_PHOTO_BUCKETS": "photos,more",
        "TS_MAX_REQUEST_SIZE": "41943040",  # of a photo of 20 MiB as base64
    }
    assert "SAGEMAKER_MODEL_SERVER_WORKERS" not in container_environment(Settings())  # the container knows its cores
