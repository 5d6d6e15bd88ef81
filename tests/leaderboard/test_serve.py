"""The local server: for this machine's browser alone, and nothing that comes in is a traceback."""

import http.client
import socket
import struct
import threading
import time
from functools import partial

import pytest

from ditbench.cli import leaderboard
from ditbench.errors import BadFile, DitbenchError
from ditbench.leaderboard.site import serve
from ditbench.leaderboard.site.folder import MANIFEST
from ditbench.leaderboard.site.serve import make_server

LARGE = 2**24  # bytes: more than a connection holds, so that the server still writes when it is closed


@pytest.fixture
def port(tmp_path):
    """A server of a site, while the test runs."""
    for name, content in {
        MANIFEST: "",
        "index.html": "<p>here",
        "assets/theme.js": "",
        "runs/a.html": "",
        "large.json": "x" * LARGE,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    with make_server(tmp_path) as server:
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01), daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def ask(port, name="/", method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, name, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.getheader("Content-Type")


def said(port, text):
    """All that the server says to raw bytes, until it ends the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(text)
        return b"".join(iter(partial(connection.recv, 2**16), b""))


def test_a_site_is_served_to_this_machine_alone(port, tmp_path):
    found = {name: ask(port, name) for name in ("/", "/assets/theme.js", "/runs/", "/../x", "/none")}
    assert found["/"] == (200, "text/html; charset=utf-8") and found["/assets/theme.js"] == (200, "text/javascript")
    assert [found[name][0] for name in ("/runs/", "/../x", "/none")] == [404] * 3
    with pytest.raises(DitbenchError, match=r"Port \d+ can't be had .* Choose another with `port`"):
        make_server(tmp_path, port)


def test_what_is_no_site_is_not_served(tmp_path):
    with pytest.raises(BadFile, match="has no site"):
        make_server(tmp_path)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_page_elsewhere_reads_nothing_under_a_name_of_its_own(port, method):
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}"):
        assert ask(port, method=method, Host=host)[0] == 200
    for host in (f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}", f"127.0.0.1.evil.example:{port}", ""):
        assert ask(port, method=method, Host=host)[0] == 421


def test_a_request_says_once_whom_it_is_for(port):
    host = f"Host: 127.0.0.1:{port}\r\n"
    for hosts, status in ((host, b"200"), ("", b"421"), (host + "Host: evil.example\r\n", b"421")):
        answer = said(port, f"GET / HTTP/1.0\r\n{hosts}\r\n".encode())
        assert answer.split()[1] == status and (b"<p>here" in answer) == (status == b"200")


def test_the_port_is_any_that_is_free_unless_one_is_given(monkeypatch):
    ports = []
    monkeypatch.setattr(leaderboard, "found_records", lambda records: ([], []))
    monkeypatch.setattr(serve, "serve", lambda folder, port, **how: ports.append(port))
    leaderboard.serve()
    leaderboard.serve(port=4321)
    assert ports == [0, 4321]


def test_what_comes_in_is_never_a_traceback(port, capfd):
    for name in ("/%00", "/a%00b.html", "/%ff%fe", "/%0d%0aX:y", "/" + "a" * 5000, "/runs", "//evil.example/..%2f"):
        assert ask(port, name)[0] in (301, 404), name
    for text in (
        b"\x16\x03\x01\x02\r\n\r\n",
        b"GET\r\n\r\n",
        b"\r\n",
        b"GET / HTTP/9\r\n\r\n",
        b"GET " + b"a" * 70_000,
    ):
        said(port, text)
    for _ in range(20):  # gone while the answer is on its way: in the middle of a file, or before any
        for name in ("large.json", "index.html"):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes by a reset
            connection.sendall(f"GET /{name} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            connection.close()
    assert ask(port)[0] == 200
    wait_for_no_handler()
    assert capfd.readouterr().err == ""


def test_a_connection_that_says_or_reads_nothing_ends(port, capfd, monkeypatch):
    assert 0 < serve._Handler.timeout <= 60
    monkeypatch.setattr(serve._Handler, "timeout", 0.1)
    began = time.monotonic()
    assert said(port, b"") == said(port, b"GET / HTTP/1.0\r\nHost: ") == b""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"GET /large.json HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        wait_for_no_handler()
    assert time.monotonic() - began < 5
    assert capfd.readouterr().err == ""


def test_a_fault_of_ours_keeps_its_traceback(port, capfd, monkeypatch):
    monkeypatch.setattr(serve._Handler, "guess_type", lambda self, path: 1 / 0)
    with pytest.raises(http.client.RemoteDisconnected):
        ask(port)
    wait_for_no_handler()
    assert "ZeroDivisionError" in capfd.readouterr().err


def wait_for_no_handler():
    """Until every request is done with; the server has a thread for each."""
    until = time.monotonic() + 10
    while any("process_request_thread" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.01)
