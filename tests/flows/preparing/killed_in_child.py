"""Runs the data flow in a process that a test can kill: JSON parameters as the one argument.

Chunks are smaller than usual, so that there are several and worker processes have them: two, whatever the machine.
"""

import sys
from functools import partial
from unittest import mock

from flows.prepare_data import prepare_data
from tasks.data.chunks import split_into_chunks
from tasks.data.prepared_data import PrepareParameters

WORKERS = 2

if __name__ == "__main__":
    parameters = PrepareParameters.model_validate_json(sys.argv[1])
    print("started", flush=True)
    with (
        mock.patch("flows.prepare_data.use_cloud"),  # the test's variables lead to its own servers
        mock.patch("tasks.data.chunk_runner.WORKERS", WORKERS),
        mock.patch("flows.prepare_data.split_into_chunks", partial(split_into_chunks, least=150)),
    ):
        print(prepare_data(parameters).model_dump_json())
