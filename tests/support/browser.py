"""A real browser for the tests of the site: Chromium as the system has it, watched for what a page must not do."""

import os
import shutil
from contextlib import contextmanager

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")


def find_chromium():
    """``DITBENCH_CHROMIUM``, or the first Chromium on the path; None if there is none."""
    return os.environ.get("DITBENCH_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUMS)), None)


@contextmanager
def open_chromium(executable):
    """A headless browser."""
    from playwright.sync_api import sync_playwright  # here, so that its absence skips tests and fails no collection

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        yield browser
        browser.close()


@contextmanager
def watched_page(browser, **options):
    """A page of a fresh context. At the end: no console error, no script error, no dialog, nothing from a network."""
    faults = []
    context = browser.new_context(**{"reduced_motion": "reduce", **options})
    context.set_default_timeout(30_000)  # plotly alone is a second of work, and a machine may be busy
    page = context.new_page()
    page.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: (faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: None if _is_local(request.url) else faults.append(f"request: {request.url}"))
    page.on("requestfailed", lambda request: faults.append(f"{request.failure}: {request.url}"))
    yield page
    context.close()
    assert not [fault for fault in faults if not fault.startswith(_LEFT)]


def nameless(page, roles):
    """The roles of what the browser tells a screen reader without a name, among these roles."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    told = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    assert set(roles) <= {role for role, _ in told}
    return [role for role, name in told if role in roles and not name.strip()]


_LEFT = "net::ERR_ABORTED"  # what was still to load when the page was left


def _is_local(url):
    return url.startswith(("file:", "data:", "blob:"))
