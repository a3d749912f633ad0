"""Child processes of `bridge run` end with it, however it ends: a pipe tells them.

The supervisor keeps the writing end; when it is gone, for whatever reason, the system closes the
pipe.
"""

import os
import signal
import threading

VARIABLE = "BRIDGE_LIFELINE"


def watch() -> None:
    """Terminate this process when its supervisor is gone; does nothing without a supervisor."""
    end = os.environ.get(VARIABLE)
    if end:
        threading.Thread(target=_wait, args=(int(end),), name="lifeline", daemon=True).start()


def _wait(end: int) -> None:
    # Nothing is ever written: a read returns only when the other end is closed.
    os.read(end, 1)
    os.kill(os.getpid(), signal.SIGTERM)
