"""One process for each GPU, on every host: the entry scripts start torchrun, which starts them again.

Nothing but SageMaker's ``SM_*`` variables is needed, so that it works the same in every container that has torch.
"""

import json
import os
import sys
import zlib

from training.hyperparameters import Hyperparameters

PORTS = range(29500, 30500)

MEMORY_ENVIRONMENT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""What processes that run networks should be started with: large tensors' memory is kept, and comes in huge pages.

By default glibc hands it back to the kernel after each use, and clearing the pages again for the next takes up to a
third of a step on a CPU. Huge pages by this variable take glibc 2.35; an older one ignores it.
"""

SERVING_ENVIRONMENT = MEMORY_ENVIRONMENT | {"MALLOC_ARENA_MAX": "1"}
"""The same for processes that answer: networks run on threads there, whose memory glibc would not keep otherwise."""


def become_torchrun(recipe: Hyperparameters) -> None:
    """Let torchrun take the place of this process, unless it can go on as it is."""
    if torchrun := command(recipe):
        cores = os.cpu_count() or 1
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // _processes(recipe))))  # or torchrun warns of one
        os.execv(torchrun[0], torchrun)  # noqa: S606 - our own interpreter


def _processes(recipe: Hyperparameters) -> int:
    return recipe.processes or max(1, int(os.environ.get("SM_NUM_GPUS", "0")))


def command(recipe: Hyperparameters) -> list[str] | None:
    """The torchrun command that this script should become; None where it can go on as it is.

    Args:
        recipe: says how many processes a host gets.
    """
    hosts = json.loads(os.environ.get("SM_HOSTS", "[]")) or ["localhost"]
    processes = _processes(recipe)
    if "WORLD_SIZE" in os.environ or len(hosts) * processes == 1:
        return None
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    module = sys.modules["__main__"].__spec__  # none, where a file was run
    script = [*(["-m", module.name] if module else [sys.argv[0]]), *sys.argv[1:]]
    if len(hosts) == 1:
        return [*torchrun, "--standalone", *script]
    rank = hosts.index(os.environ["SM_CURRENT_HOST"])
    # Every host comes to the same port, and jobs that share a machine to different ones.
    port = PORTS[zlib.crc32(os.environ.get("TRAINING_JOB_NAME", "").encode()) % len(PORTS)]
    where = [f"--nnodes={len(hosts)}", f"--node-rank={rank}", f"--master-addr={hosts[0]}", f"--master-port={port}"]
    return [*torchrun, *where, *script]
