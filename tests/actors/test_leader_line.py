"""How a host that wants to join tells what is wrong with the leader, where that needs another clock."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from actors.transport import SignedPickle

REPOSITORY = Path(__file__).parents[2]
SECRET = b"s" * 64
# In a process of its own: what Thespian is imported with lasts.
ASKS = """
import sys
from pathlib import Path
from actors.leader_line import LeaderLine, RefusedError
from actors.transport import secure
secure(b"s" * 64, "127.0.0.1", Path("thespian.log"))
try:
    LeaderLine(("127.0.0.1", int(sys.argv[1])), ("127.0.0.1", 1), b"s" * 64).ask()
except RefusedError as error:
    print(error)
"""


def _refuses(server: socket.socket) -> None:
    """What Thespian's admin does with a message that it can't take: it says so, signed."""
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        body = SignedPickle(SECRET).dumps("ACK+DATAERR")
        connection.sendall(b"%d>" % len(body) + body)


def test_a_clock_that_differs_is_told_with_how_much_it_may(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        thread = threading.Thread(target=_refuses, args=(server,))
        thread.start()
        port = server.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-c", ASKS, str(port)], cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, timeout=60, check=True,
        )  # fmt: skip
        thread.join()
    text = f"the clock here and that of the leader at 127.0.0.1:{port} differ by more than 5 minutes"
    assert text in done.stdout
