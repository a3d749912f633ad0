"""gunicorn's part of the settings: `gunicorn -c config/gunicorn.conf.py wsgi:app`."""

from app.lifeline import watch
from app.settings import load_settings

settings = load_settings()

bind = settings.bridge_bind
workers = settings.bridge_web_workers
# gunicorn's threaded worker, in which answers wait for the log's fsync, and share one, without a
# thread waiting with each.
worker_class = "app.gunicorn_worker.HoldingWorker"
threads = settings.bridge_web_threads
backlog = 2048
# Segment gives up after 5 s; an answer later than this helps nobody.
timeout = 30
graceful_timeout = 20
# Load balancers and SDKs keep their connections; a minute spares them the hand-shake.
keepalive = 65
proc_name = "bridge-web"
# gunicorn's own remote control: nothing here uses it, and two bridges of one user would share it.
control_socket_disable = True


def on_starting(server):  # type: ignore[no-untyped-def] # gunicorn's own hook, without types
    """Stop with `bridge run`, also when that is killed."""
    watch()
