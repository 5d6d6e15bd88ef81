"""The site on this machine alone, for a browser that is here."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from ...errors import BadFile, DitbenchError
from .folder import MANIFEST

HOST = "127.0.0.1"


class _Handler(SimpleHTTPRequestHandler):
    """Files below one folder; no lists of folders, and no log."""

    extensions_map = {  # not what the system believes of them
        "": "application/octet-stream",
        ".html": "text/html; charset=utf-8",
        ".css": "text/css",
        ".js": "text/javascript",
        ".json": "application/json",
        ".csv": "text/csv",
        ".png": "image/png",
    }

    def list_directory(self, path: Any) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def make_server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of a site's folder, for this machine alone; port 0: any that is free.

    `BadFile` if the folder has no site, `DitbenchError` if the port can't be had.
    """
    if not (folder / MANIFEST).is_file():
        raise BadFile(f"{str(folder)!r} has no site. Make one with ditbench leaderboard build.")
    try:
        return ThreadingHTTPServer((HOST, port), partial(_Handler, directory=str(folder)))
    except (OSError, OverflowError) as error:
        raise DitbenchError(f"Port {port} can't be had ({error}). Choose another with `port`.") from None


def serve(folder: Path, port: int = 0, browse: bool = True, tell: Callable[[str], object] = str) -> None:
    """Serve a site until Ctrl-C, `tell` its address, and open a browser there if asked to."""
    with make_server(folder, port) as server:
        address = f"http://{HOST}:{server.server_port}/"
        tell(address)
        if browse:
            Thread(target=webbrowser.open, args=(address,), daemon=True).start()  # a text browser returns when it ends
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
