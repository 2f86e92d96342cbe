"""What has to be there before a script runs: its hosts' folders, data, code, and requirements."""

import gzip
import json
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from localcloud import archives
from localcloud.errors import JobFailedError
from localcloud.host.processes import ProcessSpec
from localcloud.operations import Cloud
from localcloud.requirements_check import unsatisfied
from localcloud.s3 import S3Error, S3NotFoundError, split_uri
from localcloud.store import Document
from localcloud.training.container import Container, decode, script_arguments, user_parameters


def host_names(count: int) -> list[str]:
    """The names of a job's hosts: ``algo-1`` and so on, as on AWS.

    Hosts of one job must find each other by name. Where this machine does not know ``algo-1``, several hosts
    are named by loopback addresses instead.
    """
    names = [f"algo-{number}" for number in range(1, count + 1)]
    if count == 1:
        return names
    try:
        for name in names:
            socket.gethostbyname(name)
    except OSError:
        return [f"127.0.0.{number}" for number in range(1, count + 1)]
    return names


def containers(folder: Path, job: Document) -> list[Container]:
    """One container for each instance, below the job's folder."""
    count = job["ResourceConfig"]["InstanceCount"]
    hosts = host_names(count)
    return [Container(folder / f"algo-{number}" / "ml", host, hosts) for number, host in enumerate(hosts, 1)]


@dataclass(frozen=True)
class Preparation:
    """Fills the containers of a job. Every method raises JobFailedError with AWS's wording."""

    cloud: Cloud
    job: Document
    containers: list[Container]

    def download(self) -> None:
        """Create the folders, and fetch channels, checkpoints and code."""
        for index, container in enumerate(self.containers):
            container.make(self.job)
            for channel in self.job.get("InputDataConfig", []):
                self._download_channel(channel, container, index)
            self._restore_checkpoints(container)
            self._fetch_code(container)

    def spec(self, container: Container) -> ProcessSpec:
        """The command of a host."""
        return ProcessSpec(
            argv=self._command(container),
            environment=container.environment(self.job, self.cloud.environment),
            cwd=container.code,
            grace_seconds=self.cloud.stop_grace_seconds,
        )

    def _download_channel(self, channel: Document, container: Container, index: int) -> None:
        source = channel["DataSource"]["S3DataSource"]
        try:
            found = self._objects(source)
        except S3Error as error:
            raise JobFailedError(f"ClientError: Data download failed: {error}") from error
        if not found:
            why = nothing_under(source["S3Uri"], self.cloud.region)
            raise JobFailedError(f"ClientError: Data download failed: {why}")
        if source.get("S3DataDistributionType") == "ShardedByS3Key":
            found = dict(list(found.items())[index :: len(self.containers)])
        folder = container.channel(channel["ChannelName"])
        targets: dict[str, dict[str, Path]] = {}
        for (bucket, key), name in found.items():
            targets.setdefault(bucket, {})[key] = _inside(folder, name)
        try:
            for bucket, files in targets.items():
                self.cloud.s3.download(bucket, files)
        except (S3Error, OSError) as error:
            raise JobFailedError(f"ClientError: Data download failed: {error}") from error
        if channel.get("CompressionType") == "Gzip":
            _decompress(folder)

    def _objects(self, source: Document) -> dict[tuple[str, str], str]:
        """Objects by (bucket, key), with the path that each gets in its channel."""
        uri = source["S3Uri"]
        if source["S3DataType"] == "S3Prefix":
            bucket, prefix = split_uri(uri)
            keys = [item.key for item in self.cloud.s3.objects(uri) if not item.key.endswith("/")]
            return {(bucket, key): relative_name(key, prefix) for key in keys}
        try:
            first, *names = json.loads(self.cloud.s3.get(uri))
            prefix_uri = first["prefix"]
        except (ValueError, TypeError, KeyError) as error:
            raise JobFailedError(
                f"ClientError: {uri} is not a manifest: a JSON list that begins with a prefix"
            ) from error
        bucket, prefix = split_uri(prefix_uri)
        return {(bucket, prefix + name): name for name in names}

    def _restore_checkpoints(self, container: Container) -> None:
        config = self.job.get("CheckpointConfig")
        if config is None:
            return
        bucket, prefix = split_uri(config["S3Uri"])
        try:
            keys = [item.key for item in self.cloud.s3.objects(config["S3Uri"].rstrip("/") + "/")]
            targets = {key: _inside(container.checkpoints, relative_name(key, prefix)) for key in keys}
            self.cloud.s3.download(bucket, targets)
        except S3NotFoundError as error:
            raise JobFailedError(f"ClientError: the checkpoints cannot be read: {error}") from error

    def _fetch_code(self, container: Container) -> None:
        uri = str(decode(self.job.get("HyperParameters", {}).get("sagemaker_submit_directory", "")))
        if not uri:
            return
        if not uri.startswith("s3://"):
            source = container.relocate(uri)
            if source.is_dir():
                shutil.copytree(source, container.code, dirs_exist_ok=True)
                return
            archive = source
        else:
            archive = container.root / "sourcedir.tar.gz"
        try:
            if uri.startswith("s3://"):
                bucket, key = split_uri(uri)
                self.cloud.s3.download(bucket, {key: archive})
            archives.extract(archive, container.code)
        except (S3Error, archives.ArchiveError) as error:
            raise JobFailedError(f"ClientError: the source archive {uri} cannot be used: {error}") from error
        self._check_requirements(container.code / "requirements.txt")

    def _check_requirements(self, requirements: Path) -> None:
        if not requirements.exists():
            return
        problems = unsatisfied(requirements)
        if problems:
            raise JobFailedError(
                "ClientError: requirements.txt asks for what is not installed, and localcloud installs nothing: "
                + "; ".join(problems)
            )

    def _command(self, container: Container) -> list[str]:
        algorithm = self.job["AlgorithmSpecification"]
        if "ContainerEntrypoint" in algorithm:
            given = [*algorithm["ContainerEntrypoint"], *algorithm.get("ContainerArguments", [])]
            return [self._translated(word, container) for word in given]
        program = str(decode(self.job.get("HyperParameters", {}).get("sagemaker_program", "")))
        if not program:
            raise JobFailedError(
                "ClientError: localcloud runs scripts, not images: set the hyperparameters sagemaker_program and "
                "sagemaker_submit_directory, or a ContainerEntrypoint"
            )
        arguments = script_arguments(user_parameters(self.job))
        if not program.endswith((".py", ".sh")):
            return [sys.executable, "-m", program, *arguments]
        if not (container.code / program).is_file():
            raise JobFailedError(f"ClientError: the source archive holds no {program}")
        if program.endswith(".sh"):
            return ["/bin/sh", program, *arguments]
        return [sys.executable, program, *arguments]

    def _translated(self, word: str, container: Container) -> str:
        if word in ("python", "python3"):
            return sys.executable
        return str(container.relocate(word)) if word.startswith("/opt/ml") else word


def nothing_under(uri: str, region: str) -> str:
    """AWS's words for a channel without objects."""
    return (
        f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the bucket exists in '
        f"the selected region ({region}), that objects exist under that S3 prefix, and that the role may read them."
    )


def relative_name(key: str, prefix: str) -> str:
    """The path of an object in its channel, as SageMaker makes it from key and prefix.

    >>> relative_name("data/train/1/a.jpg", "data/train")
    '1/a.jpg'
    >>> relative_name("data/train.csv", "data/tr")
    'train.csv'
    """
    rest = key[len(prefix) :]
    if rest and (prefix.endswith("/") or rest.startswith("/") or not prefix):
        return rest.lstrip("/")
    return key.rpartition("/")[2] if not rest else key[len(prefix.rpartition("/")[0]) :].lstrip("/")


def _inside(folder: Path, name: str) -> Path:
    target = (folder / name).resolve()
    if not target.is_relative_to(folder.resolve()) or target == folder.resolve():
        raise JobFailedError(f"ClientError: Data download failed: the key {name!r} leaves its channel's folder")
    return target


def _decompress(folder: Path) -> None:
    for path in [path for path in folder.rglob("*") if path.is_file() and path.suffix == ".gz"]:
        try:
            with gzip.open(path) as packed, path.with_suffix("").open("wb") as plain:
                shutil.copyfileobj(packed, plain)
        except (gzip.BadGzipFile, EOFError) as error:
            raise JobFailedError(f"ClientError: Data download failed: {path.name} is not gzip: {error}") from error
        path.unlink()
