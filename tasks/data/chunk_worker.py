"""A process that does one piece of work after another: ``python -m tasks.data.chunk_worker``, see ``chunk_processes``.

Pickled calls arrive on standard input and pickled answers leave on standard output. It ends when its input does, in
the middle of a chunk if need be: whoever started it is gone then, and a new run may begin.
"""

import gc
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from typing import Any, BinaryIO

import psutil

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
Answer = tuple[bool, Any, int]
"""Whether the call succeeded; what it returned, or the error; and the bytes of memory that the worker has now."""


class _WithoutPandas(MetaPathFinder):
    """Keeps pandas out. pyarrow loads it to ask whether a list is one of its own: 39 MB in each worker, for nothing."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("chunk workers go without pandas", name=name)


def main() -> None:
    """Answer calls until the input ends."""
    sys.meta_path.insert(0, _WithoutPandas())
    gc.freeze()  # what was imported stays: no collection needs to look at it again
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the flow, which ends this process by closing the pipe
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is printed by mistake is no answer
    calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
    me = psutil.Process()
    threading.Thread(target=_read, args=(sys.stdin.buffer, calls), daemon=True).start()
    while True:
        function, arguments, options = calls.get()
        try:
            done, result = True, function(*arguments, **options)
        except Exception as error:  # noqa: BLE001 - it is raised where the call was made
            done, result = False, _portable(error)
        answer: Answer = done, result, me.memory_info().rss
        answers.write(pickle.dumps(answer))
        del result, answer  # the next call may take as much memory again
        answers.flush()


def _read(stream: BinaryIO, calls: "queue.SimpleQueue[Call]") -> None:
    try:
        while True:
            calls.put(pickle.load(stream))  # noqa: S301 - from the process that started this one
    except EOFError:
        os._exit(0)
    except Exception:  # noqa: BLE001 - a call that cannot be read: no answer would ever come
        traceback.print_exc()
        os._exit(1)


def _portable(error: Exception) -> Exception:
    """Return the error with its traceback as a note; a plain one in its place if it can't travel."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301
    except Exception:  # noqa: BLE001 - whatever its own constructor raises
        return RuntimeError("".join(traceback.format_exception(error)))
    return error


if __name__ == "__main__":
    main()
