"""What the views share: the settings, the log and the two mappers, behind one typed accessor."""

from flask import current_app

from app.inbound.mapping import WebhookMapper
from app.log.base import Log
from app.outbound.mapping import CallMapper
from app.settings import Settings


class State:
    """One per application."""

    def __init__(self, settings: Settings, log: Log) -> None:
        self.settings = settings
        self.log = log
        self.calls = CallMapper(settings)
        self.webhooks = WebhookMapper(settings)


def state() -> State:
    """The state of the application that answers the present request."""
    found: State = current_app.extensions["bridge"]
    return found
