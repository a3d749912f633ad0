"""Opens the log that a URL names; the engine behind it is imported only then."""

from app.log.base import Log


def open_log(url: str) -> Log:
    """Return the log at `url`, such as `sqlite:///var/bridge.db` (four slashes: an absolute path).

    Nothing is opened or created before the first use. Raises ValueError when the URL is of no use.
    """
    scheme, _, place = url.partition("://")
    if scheme == "sqlite":
        if not place.startswith("/") or place == "/":
            raise ValueError(f"BRIDGE_LOG: {url!r} names no file; write it like sqlite:///PATH")
        from app.log.sqlite import SqliteLog

        return SqliteLog(place[1:])
    raise ValueError(f"BRIDGE_LOG: unknown kind of log {scheme!r}; write it like sqlite:///PATH")
