"""What a watched training records: tensors through smdebug's hook, phases, and the state of the machine."""

import os

# Read by smdebug when it is imported. Its own resume walks the checkpoint folder on every step, and knows nothing of
# the loop's steps; ours is told them by the loop.
os.environ.setdefault("SMDEBUG_LOG_LEVEL", "error")
os.environ["CHECKPOINT_CONFIG_FILE_PATH"] = os.devnull + "/none"
