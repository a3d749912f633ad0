"""The one HTTP session that analytics-python has, made fit for many threads."""

import os
import threading
from typing import Any

from requests import Response, Session
from requests.adapters import HTTPAdapter
from segment.analytics import request as library

# Connections kept open. As many as delivery threads would use; more are opened and dropped again.
_CONNECTIONS = 64

_answers = threading.local()


def _renew_session() -> None:
    """Give the library another session, which all its clients in this process share.

    - No redirects: requests follows a 301 or 302 with a GET, whose 200 would pass for delivery.
    - Enough connections: the default keeps 10.
    - The last answer is kept for the thread it came in, because the library throws away which
      answer it was that asked for a pause (see `last_answer`).
    """
    session = Session()
    session.max_redirects = 0
    session.hooks["response"].append(_remember)
    adapter = HTTPAdapter(pool_connections=1, pool_maxsize=_CONNECTIONS)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    library._session = session


def close_session() -> None:
    """Close the connections that are kept open; the next message opens new ones."""
    library._session.close()


def last_answer() -> Response | None:
    """The last HTTP answer in this thread; within `on_error` that is the batch's own."""
    return getattr(_answers, "last", None)


def _remember(response: Response, *_: Any, **__: Any) -> None:
    _answers.last = response


_renew_session()
# Two processes must not read answers from one connection: each would take the other's for its own.
os.register_at_fork(after_in_child=_renew_session)
