"""The web process: gunicorn with its own asgi worker, on a socket that the launcher has bound.

Started by the launcher as `python -m web.server`, with the socket inherited; it ends with the launcher.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import click
import msgspec
from gunicorn.app.base import BaseApplication

from actors.lifeline import launcher_pid, tie_to_parent
from actors.secret import REGISTER_TOKEN, load_secret
from actors.sharing import keep_inherited
from actors.transport import secure
from config.bounds import EXEC_MESSAGE_BYTES
from config.trusted_hosts import is_loopback
from scheduling.placement import algorithm


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker's app is made of: `names` are the listening host, then other names."""

    admin_port: int
    names: tuple[str, ...]
    placement: str
    exec_allowed: bool
    register_token: Path


class WebServer(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn, configured by what the launcher says and nothing else."""

    def __init__(self, options: dict[str, Any], served: Served) -> None:
        self._options = options
        self._served = served
        super().__init__()

    def load_config(self) -> None:
        """Take the options; no files, no environment, no command line."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Called in each worker, after the fork: the link to the actors must not be made before."""
        from web.app import create_app  # noqa: PLC0415 - after `secure`, and only in the worker
        from web.link import ActorCluster  # noqa: PLC0415 - as above

        served = self._served
        cluster = ActorCluster(served.admin_port)
        # On loopback nobody but this machine's own browsers and programs come: there every name is checked.
        strict = is_loopback(served.names[0])
        app = create_app(
            cluster,
            frozenset(served.names),
            strict=strict,
            algorithm=algorithm(served.placement),
            exec_allowed=served.exec_allowed,
            register_token=served.register_token,
        )
        app.add_middleware(_Lifespan(cluster))
        # What is there now stays, and so does most of what comes: the replica.
        keep_inherited()
        return app


class _Lifespan:
    """Falcon calls these when a worker's event loop starts and ends."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster

    async def process_startup(self, _scope: Any, _event: Any) -> None:
        self._cluster.start()

    async def process_shutdown(self, _scope: Any, _event: Any) -> None:
        self._cluster.stop()


def _after_fork(_server: Any, _worker: Any) -> None:
    tie_to_parent(sent=signal.SIGKILL)


@click.command()
@click.option("--fd", type=int, required=True)
@click.option("--admin-port", type=int, required=True)
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--secret", type=click.Path(path_type=Path), required=True)
@click.option("--address", required=True)
@click.option("--workers", type=int, required=True)
@click.option("--placement", required=True, help="The placement algorithm, for plans.")
@click.option("--exec/--no-exec", "exec_allowed", default=True, help="Whether commands may run in tasks.")
@click.option("--name", "names", multiple=True, required=True, help="The listening host, then other names.")
def main(fd: int, data: Path, secret: Path, address: str, workers: int, **served: Any) -> None:
    """Serve HTTP on an inherited socket until the launcher ends."""
    tie_to_parent(expected=launcher_pid(), sent=signal.SIGTERM)
    secure(load_secret(secret), address, data / "thespian.log")
    options = {
        "bind": f"fd://{fd}",
        "workers": workers,
        "worker_class": "asgi",
        "asgi_lifespan": "on",
        "graceful_timeout": 2,
        "timeout": 60,
        "keepalive": 75,
        "websocket_max_message_size": EXEC_MESSAGE_BYTES,
        "loglevel": "warning",
        "accesslog": None,
        "errorlog": "-",
        "control_socket_disable": True,
        "worker_tmp_dir": None,
        "post_fork": _after_fork,
        "proc_name": "harpoon-web",
    }
    WebServer(options, Served(**served, register_token=data / REGISTER_TOKEN)).run()


if __name__ == "__main__":
    main()
