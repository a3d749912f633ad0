"""Probes for load balancers: is the process up, can it take anything."""

from flask import Blueprint, Response

from app.door import answer
from app.state import state

health = Blueprint("health", __name__)


@health.get("/health/live")
def live() -> Response:
    """The process is up."""
    return answer({"success": True})


@health.get("/health/ready")
def ready() -> Response:
    """The log can be written; 503 when not (see `register_errors`).

    A partner that is away or refuses the key does not make the bridge unready: it goes on storing.
    """
    state().log.check()
    return answer({"success": True})
