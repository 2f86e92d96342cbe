"""Runs command lines, ``python -m flows.<name>`` among them, one after another in one process that imports things once.

Each line of standard input is JSON with the module, arguments and variables of one run; each line of output its exit
code and what it printed.
"""

import json
import os
import runpy
import sys
import tempfile
import traceback
import warnings
from typing import Any

from tasks.settings import settings


def run(wanted: dict[str, Any]) -> object:
    """Run one command line; returns its exit code."""
    for name in [name for name in os.environ if name.startswith("BINVENTORY_")]:
        del os.environ[name]
    os.environ.update(wanted["variables"])
    settings.cache_clear()
    sys.argv = [wanted["module"], *wanted["arguments"]]
    try:
        runpy.run_module(wanted["module"], run_name="__main__")
    except SystemExit as end:
        return end.code
    except Exception:  # noqa: BLE001 - the test is told
        traceback.print_exc()
        return "crashed"
    return 0


def main() -> None:
    """Answer until the input ends."""
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")  # another flow has imported this one
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        with tempfile.TemporaryFile("w+") as said:
            for stream in (1, 2):  # of the process, as loggers keep the stream that they were made with
                os.dup2(said.fileno(), stream)
            code = run(json.loads(line))
            sys.stdout.flush()
            sys.stderr.flush()
            said.seek(0)
            print(json.dumps({"code": code, "said": said.read()}), file=answers, flush=True)


if __name__ == "__main__":
    main()
