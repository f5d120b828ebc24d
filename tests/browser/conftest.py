"""Chromium without a window, a server of static files, and pages that tell their troubles.

The browser is Debian's; Playwright comes from PyPI and downloads none of its own. Where either is
missing, the tests of this folder are skipped and say which; `make test-browser` requires both.
"""

import functools
import http.server
import shutil
import threading
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",  # CI runs as root, for whom Chromium starts in no other way
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # No name but this machine's own can be looked up: a page that asks the network fails.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--use-fake-device-for-media-stream",  # a camera and a microphone that show a test signal
    "--use-fake-ui-for-media-stream",
)
LOCAL = ("http://127.0.0.1:", "http://localhost:", "file:", "data:", "blob:", "about:")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Leave all tests of this folder out of `make test-fast`."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium for all tests of the session."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright from PyPI")
    if shutil.which(CHROMIUM) is None:
        pytest.skip("needs Debian's chromium (apt install chromium)")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture
def troubles():
    """What went wrong in the pages of this test: errors, failed and outside requests, in words.

    The test fails when something is left here at its end; one that expects trouble checks it and
    clears the list.
    """
    found: list[str] = []
    yield found
    assert not found, found


@pytest.fixture
def page(browser, troubles):
    """A function that opens an address: ``page(url, width=390, scheme="light")``.

    ``height`` is that of the window. Further keywords go to Playwright's ``new_context``.
    """
    contexts = []

    def open_page(url, *, width=390, height=844, scheme="light", **options):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, **options
        )
        contexts.append(context)
        context.set_default_timeout(180_000)  # a busy machine is no failure
        opened = context.new_page()
        watch(opened, troubles)
        opened.goto(url)
        return opened

    yield open_page
    for context in contexts:
        context.close()


def watch(opened, troubles):
    """Have the page write its errors, failed requests and outside requests into the list."""

    def console(message):
        if message.type in ("error", "warning"):
            troubles.append(f"console {message.type}: {message.text}")

    def request(asked):
        if not asked.url.startswith(LOCAL):
            troubles.append(f"outside request: {asked.url}")

    def response(answer):
        if answer.status >= 400:
            troubles.append(f"status {answer.status}: {answer.url}")

    opened.on("console", console)
    opened.on("pageerror", lambda error: troubles.append(f"uncaught: {error}"))
    opened.on("request", request)
    opened.on("requestfailed", lambda it: troubles.append(f"failed: {it.url} ({it.failure})"))
    opened.on("response", response)


@pytest.fixture(scope="session")
def sideways():
    """A function of a page: how many pixels it is wider than the window. 0 is right."""
    script = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    return lambda opened: opened.evaluate(script)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Static files of a folder, without a log."""

    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
        ".mjs": "text/javascript",  # Python's table may take it from the system, or not
        ".wasm": "application/wasm",
    }

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(scope="session")
def serve():
    """A function that serves a folder on a free port of 127.0.0.1 and returns its address."""
    servers = []

    def start(folder):
        handler = functools.partial(_Quiet, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
