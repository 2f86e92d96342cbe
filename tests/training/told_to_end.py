"""A script for several processes that end as a training does when it is told to. Not a test by itself.

Told what sends SIGTERM: "parent", whoever runs the script; "processes", they themselves.
"""

import os
import signal
import sys
import time

if "WORLD_SIZE" in os.environ:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if sys.argv[1] == "processes":
        os.kill(os.getpid(), signal.SIGTERM)
    os.write(1, b"ready\n")  # in one piece: torchrun's processes are unbuffered, and would mix theirs
    time.sleep(600)
else:
    from training.hyperparameters import Hyperparameters
    from training.launch import through_torchrun

    raise SystemExit(through_torchrun(Hyperparameters(processes=2)))
