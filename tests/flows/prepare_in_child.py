"""Runs the data flow in a process that a test can kill: JSON parameters as the one argument."""

import sys

import flows.prepare_data
from tasks.prepared_data import PrepareParameters

if __name__ == "__main__":
    flows.prepare_data.use_cloud = lambda _: None  # the test's variables lead to its own servers
    parameters = PrepareParameters.model_validate_json(sys.argv[1])
    print("started", flush=True)
    print(flows.prepare_data.prepare_data(parameters).model_dump_json())
