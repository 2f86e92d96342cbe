"""Runs the data flow in a process that a test can kill: JSON parameters as the one argument."""

import sys
from unittest import mock

from flows.prepare_data import prepare_data
from tasks.data.prepared_data import PrepareParameters

if __name__ == "__main__":
    parameters = PrepareParameters.model_validate_json(sys.argv[1])
    print("started", flush=True)
    with mock.patch("flows.prepare_data.use_cloud"):  # the test's variables lead to its own servers
        print(prepare_data(parameters).model_dump_json())
