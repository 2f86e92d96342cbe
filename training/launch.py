"""One process for each GPU, on every host: the entry scripts run torchrun, which starts them again.

Nothing but SageMaker's ``SM_*`` variables is needed, so that it works the same in every container that has torch.
"""

import json
import os
import sys
import zlib

from training.errors import WorkerError
from training.hyperparameters import Hyperparameters
from training.interruption import INTERRUPTED

PORTS = range(29500, 30500)


def through_torchrun(recipe: Hyperparameters) -> int | None:
    """Let torchrun start this script in several processes, and wait for them.

    Returns:
        the exit code, which is `INTERRUPTED` where they were told to end; None where this process can go on as it is.

    Raises:
        WorkerError: a process failed.
    """
    if (arguments := command(recipe)) is None:
        return None
    from torch.distributed import run  # serving needs none of these, and has this module for its variables
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    cores = os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // _processes(recipe))))  # or torchrun warns of one
    try:
        run.main(arguments)
    except SignalException as error:  # it was passed on, and the processes have ended
        return 128 + int(error.sigval)
    except ChildFailedError as error:
        codes = {failure.exitcode for failure in error.failures.values()}
        if codes == {INTERRUPTED}:
            return INTERRUPTED
        raise WorkerError(f"a process of the training failed, and said why unless it was killed: {error}") from error
    return 0


def _processes(recipe: Hyperparameters) -> int:
    return recipe.processes or max(1, int(os.environ.get("SM_NUM_GPUS", "0")))


def command(recipe: Hyperparameters) -> list[str] | None:
    """What torchrun is to be told to start this script in several processes; None where it can go on as it is.

    Args:
        recipe: says how many processes a host gets.
    """
    hosts = json.loads(os.environ.get("SM_HOSTS", "[]")) or ["localhost"]
    processes = _processes(recipe)
    if "WORLD_SIZE" in os.environ or len(hosts) * processes == 1:
        return None
    torchrun = [f"--nproc-per-node={processes}"]
    module = sys.modules["__main__"].__spec__  # none, where a file was run
    script = [*(["-m", module.name] if module else [sys.argv[0]]), *sys.argv[1:]]
    if len(hosts) == 1:
        return [*torchrun, "--standalone", *script]
    rank = hosts.index(os.environ["SM_CURRENT_HOST"])
    # Every host comes to the same port, and jobs that share a machine to different ones.
    port = PORTS[zlib.crc32(os.environ.get("TRAINING_JOB_NAME", "").encode()) % len(PORTS)]
    where = [f"--nnodes={len(hosts)}", f"--node-rank={rank}", f"--master-addr={hosts[0]}", f"--master-port={port}"]
    return [*torchrun, *where, *script]
