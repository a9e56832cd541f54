"""The agent as a server: gunicorn with exactly one worker, which owns the tasks.

The arbiter above it only listens and watches: a worker that crashes is started anew and finds its
tasks again, as after a restart of the whole agent.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from typing import Any
from urllib.parse import urlsplit

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.workers.gasgi import ASGIWorker

from agent.about import about
from agent.api import create_app
from agent.drivers import drivers_here
from agent.prctl import signal_on_parent_death
from agent.registration import Registrar
from agent.runtime import Runtime
from agent.settings import Settings
from config.bounds import EXEC_MESSAGE_BYTES

# The arbiter's patience with its worker when both end: an agent must be gone after 5 s.
_END_SECONDS = 4
# A worker whose event loop hangs that long is replaced.
_HANG_SECONDS = 60


def serve(settings: Settings, listener: socket.socket) -> None:
    """Serve until told to end; never returns, but exits with 0."""
    _Arbiter(_Application(settings, listener)).run()


def url_of(listener: socket.socket) -> str:
    """Where a listening socket is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Application(BaseApplication):  # type: ignore[misc] # gunicorn ships no types
    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self.settings = settings
        self.url = url_of(listener)
        self.runtime: Runtime | None = None
        self.registrar: Registrar | None = None
        self._descriptor = listener.detach()
        super().__init__()

    def load_config(self) -> None:
        for name, value in {
            "bind": [f"fd://{self._descriptor}"],
            "workers": 1,
            "worker_class": _Worker,
            "post_fork": _post_fork,
            "timeout": _HANG_SECONDS,
            "graceful_timeout": _END_SECONDS,
            "asgi_lifespan": "on",
            "asgi_loop": "asyncio",
            "control_socket_disable": True,
            "worker_tmp_dir": str(self.settings.data),
            "worker_connections": 10_000,
            "keepalive": 75,
            "websocket_max_message_size": EXEC_MESSAGE_BYTES,
            "accesslog": None,
            "loglevel": "warning",
            "proc_name": "harpoon-agent",
        }.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        drivers = drivers_here(self.settings)
        self.runtime = Runtime(self.settings, drivers)
        app = create_app(self.runtime, about(self.settings, drivers.names, drivers.limits))
        if self.settings.register:
            self.registrar = Registrar(self.settings, urlsplit(self.url).port or self.settings.port)
            app.add_middleware(self.registrar)
        return app


class _Arbiter(Arbiter):  # type: ignore[misc] # gunicorn ships no types
    """An arbiter that always has one worker: two would both want to own the tasks."""

    def handle_hup(self) -> None:
        self.handle_term()

    def handle_ttin(self) -> None:
        self.log.warning("SIGTTIN ignored: there is exactly one worker")

    def handle_ttou(self) -> None:
        self.log.warning("SIGTTOU ignored: there is exactly one worker")

    def handle_usr2(self) -> None:
        self.log.warning("SIGUSR2 ignored: end the agent and start the new one, its tasks live on")


class _Worker(ASGIWorker):  # type: ignore[misc] # gunicorn ships no types
    """The one worker: told to end, it closes the runtime first and does not wait for watchers to leave."""

    closing: asyncio.Task[None] | None = None
    serving: asyncio.Task[Any] | None = None

    def notify(self) -> None:
        super().notify()
        if self.serving is None:
            self.serving = asyncio.current_task(self.loop)
            if self.age == 1 and self.app.settings.announce:
                sys.stderr.write(f"listening on {self.app.url}\n")
                sys.stderr.flush()

    def handle_exit_signal(self) -> None:
        self._close_soon()

    def handle_quit_signal(self) -> None:
        self._close_soon()

    def _close_soon(self) -> None:
        if self.closing is None:
            self.closing = self.loop.create_task(self._close())

    async def _close(self) -> None:
        try:
            open_parts = [part for part in (self.app.registrar, self.app.runtime) if part is not None]
            await asyncio.gather(*(part.close() for part in open_parts))
        finally:
            super().handle_quit_signal()
            if self.serving is not None:
                # It looks once a second whether it should end; wake it.
                self.serving.cancel()


def _post_fork(_server: Any, worker: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal_on_parent_death(worker.ppid)
    os.environ.pop("SERVER_SOFTWARE", None)
