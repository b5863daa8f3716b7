"""`python -m tests.integration.one_thread_less QUEUE worker ...`: a worker one of whose consumers dies, in the first process of a folder.

As the interpreter kills a thread: by an exception that nothing catches, in the midst of whatever it does.
"""

import ctypes
import sys
import threading
import time
from pathlib import Path

from dramatiq.worker import ConsumerThread

from outreach.cli import main
from outreach.settings import inherited_environment


def kill_the_consumer_of(queue: str) -> None:
    while True:
        time.sleep(0.05)
        for thread in threading.enumerate():
            if (
                isinstance(thread, ConsumerThread)
                and thread.queue_name == queue
                and thread.consumer is not None
            ):
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
                )
                return


if __name__ == "__main__":
    queue = sys.argv.pop(1)
    mark = Path(inherited_environment()["OUTREACH_MARK"])
    if not mark.exists():
        mark.touch()
        threading.Thread(target=kill_the_consumer_of, args=(queue,), daemon=True).start()
    sys.exit(main())
