"""Runs the nightly flow's command line again and again in one process, which imports everything once.

Each line of standard input is JSON with the arguments and variables of one run; each line of output its exit code and
what it printed.
"""

import contextlib
import io
import json
import os
import sys
import traceback

from flows.command_line import run
from flows.nightly_count import nightly_count
from tasks.nightly.parameters import NightParameters
from tasks.settings import settings

if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        wanted = json.loads(line)
        for name in [name for name in os.environ if name.startswith("BINVENTORY_")]:
            del os.environ[name]
        os.environ.update(wanted["variables"])
        settings.cache_clear()
        sys.argv = ["nightly_count", *wanted["arguments"]]
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                code: object = run(nightly_count, NightParameters, "nightly_count")
            except SystemExit as end:
                code = end.code
            except Exception:  # noqa: BLE001 - the test is told
                traceback.print_exc()
                code = "crashed"
        print(json.dumps({"code": code, "said": said.getvalue()}), file=answers, flush=True)
