"""The site on this machine alone, for a browser that is here.

The port is a random one, and a request must name this address: so no page elsewhere can guess where unpublished records
are to be read, nor lead a browser here under a name of its own (DNS rebinding).
"""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from ...errors import BadFile, DitbenchError
from .folder import MANIFEST

HOST = "127.0.0.1"
_NAMES = (HOST, "localhost")  # that no other machine can have


class _Handler(SimpleHTTPRequestHandler):
    """Files below one folder; no lists of folders, and no log."""

    timeout = 10  # seconds that a connection may be idle

    extensions_map = {  # not what the system believes of them
        "": "application/octet-stream",
        ".html": "text/html; charset=utf-8",
        ".css": "text/css",
        ".js": "text/javascript",
        ".json": "application/json",
        ".csv": "text/csv",
        ".png": "image/png",
    }

    def send_head(self) -> Any:
        """What every request for a file comes through."""
        if not self._is_for_us():
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return None
        if "\0" in self.translate_path(self.path):  # no file has such a name, and opening one would raise
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def _is_for_us(self) -> bool:
        """Whether the browser believes to talk to this machine."""
        port = self.connection.getsockname()[1]
        ours = {f"{name}:{port}" for name in _NAMES} | (set(_NAMES) if port == 80 else set())
        asked = self.headers.get_all("Host", [])
        return len(asked) == 1 and asked[0].lower() in ours

    def list_directory(self, path: Any) -> None:
        self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # of the library's 5, a browser that asks for more at once waits a second

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that closes a connection, or stops reading, is no fault of ours."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


def make_server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of a site's folder, for this machine alone; port 0: any that is free.

    `BadFile` if the folder has no site, `DitbenchError` if the port can't be had.
    """
    if not (folder / MANIFEST).is_file():
        raise BadFile(f"{str(folder)!r} has no site. Make one with ditbench leaderboard build.")
    try:
        return _Server((HOST, port), partial(_Handler, directory=str(folder)))
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
