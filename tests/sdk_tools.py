"""What Segment's own SDKs need to run in a test: Node's packages, a browser and a page for it."""

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SDKS = ROOT / "tests/sdks"
CACHE = ROOT / ".cache/sdks"
BROWSER_SDK = "@segment/analytics-next/dist/umd/index.js"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 60.0

# Nothing but the page and the bridge is ever asked, and nothing outlives the test.
CHROMIUM = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


def node_modules() -> Path:
    """The folder with the packages of tests/sdks/node/package-lock.json; skips without Node."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed; they run Segment's JavaScript SDKs")
    lock = (SDKS / "node/package-lock.json").read_bytes()
    done = CACHE / "installed.json"
    if not done.exists() or done.read_bytes() != lock:
        CACHE.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SDKS / "node" / name, CACHE)
        command = [str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        installed = subprocess.run(command, cwd=CACHE, capture_output=True, text=True)
        if installed.returncode:
            pytest.skip(
                f"npm ci could not install Segment's SDKs: {installed.stderr.strip()[-300:]}"
            )
        done.write_bytes(lock)
    return CACHE / "node_modules"


def run_node(writing_key: str, host: str, calls: Sequence[Any], folder: Path) -> list[str]:
    """Send `calls` with analytics-node and return their message ids."""
    modules = node_modules()
    (folder / "calls.json").write_text(json.dumps(calls))
    done = subprocess.run(
        ["node", str(SDKS / "node/send.js"), writing_key, host, str(folder / "calls.json")],
        env={**os.environ, "NODE_PATH": str(modules)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    ids: list[str] = json.loads(done.stdout)
    return ids


@contextmanager
def browser_sending(order: dict[str, Any], folder: Path) -> Iterator[list[str]]:
    """A page that sends `order` with analytics-next, and the calls' message ids.

    It stays open for what the SDK sends a little later.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("Chromium is not installed; it runs Segment's browser SDK")
    sdk = node_modules() / BROWSER_SDK
    with _page(order, sdk) as (address, answers), _browser(str(browser), address, folder):
        try:
            ids = answers.get(timeout=PATIENCE)
        except Empty:
            pytest.fail("the page did not finish")
        assert isinstance(ids, list), ids
        yield ids


@contextmanager
def _browser(browser: str, address: str, folder: Path) -> Iterator[None]:
    with (folder / "browser.log").open("wb") as output:
        process = subprocess.Popen(
            [browser, *CHROMIUM, f"--user-data-dir={folder / 'browser'}", address],
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def _page(order: dict[str, Any], sdk: Path) -> Iterator[tuple[str, "Queue[Any]"]]:
    """The page's address, and the queue on which its answer comes."""
    files = {
        "/": ("text/html", (SDKS / "browser/page.html").read_bytes()),
        "/sdk.js": ("text/javascript", sdk.read_bytes()),
        "/calls.json": ("application/json", json.dumps(order).encode()),
    }
    answers: Queue[Any] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, content = files.get(self.path, ("text/plain", b""))
            self._answer(200 if self.path in files else 404, kind, content)

        def do_POST(self) -> None:
            answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(200, "text/plain", b"")

        def _answer(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", answers
        finally:
            server.shutdown()
            thread.join()
