"""A durable bridge between Segment and Iterable: `create_app` wires the doors to the log."""

from flask import Flask, Request
from werkzeug.routing import MapAdapter

from app.door import register_errors
from app.log import open_log
from app.log.base import Log
from app.settings import Settings, load_settings


class BridgeApp(Flask):
    """Flask, finding routes by method and path alone."""

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """See `Flask.create_url_adapter`, which goes by the host too, and takes as long for it as a
        door for all the rest."""
        if request is None:
            return super().create_url_adapter(None)
        path, method = request.environ["PATH_INFO"], request.method
        return MapAdapter(self.url_map, "", "/", "", request.scheme, path, method)


def create_app(settings: Settings | None = None, log: Log | None = None) -> Flask:
    """Make the web application.

    `settings` default to `load_settings()`, `log` to the one that BRIDGE_LOG names.
    Raises SettingsError with every problem of the settings.
    """
    from app.health import health
    from app.inbound.blueprint import inbound
    from app.outbound.blueprint import outbound
    from app.state import State

    settings = settings or load_settings()
    app = BridgeApp(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.bridge_max_body
    # A doubled slash, or the second path of a route, would be answered by a redirect, which some
    # SDKs take for success.
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False
    log = log or open_log(settings.bridge_log, settings.kafka_settings)
    app.extensions["bridge"] = State(settings, log)
    register_errors(app)
    app.register_blueprint(outbound)
    app.register_blueprint(inbound)
    app.register_blueprint(health)
    return app
