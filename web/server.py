"""The web process: gunicorn with its own asgi worker, on a socket that the launcher has bound.

Started by the launcher as `python -m web.server`, with the socket inherited; it ends with the launcher.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import click
from gunicorn.app.base import BaseApplication

from actors.lifeline import tie_to_parent
from actors.transport import REGISTER_TOKEN, load_secret, secure
from config.trusted_hosts import is_loopback
from scheduling.placement import algorithm


class WebServer(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn, configured by what the launcher says and nothing else."""

    def __init__(
        self,
        options: dict[str, Any],
        admin_port: int,
        names: tuple[str, ...],
        placement: str,
        register_token: Path,
    ) -> None:
        self._options = options
        self._admin_port = admin_port
        self._names = names
        self._placement = placement
        self._register_token = register_token
        super().__init__()

    def load_config(self) -> None:
        """Take the options; no files, no environment, no command line."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Called in each worker, after the fork: the link to the actors must not be made before."""
        from web.app import create_app  # noqa: PLC0415 - after `secure`, and only in the worker
        from web.link import ActorCluster  # noqa: PLC0415 - as above

        cluster = ActorCluster(self._admin_port)
        # On loopback nobody but this machine's own browsers and programs come: there every name is checked.
        strict = is_loopback(self._names[0])
        app = create_app(
            cluster,
            frozenset(self._names),
            strict=strict,
            algorithm=algorithm(self._placement),
            register_token=self._register_token,
        )
        app.add_middleware(_Lifespan(cluster))
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
@click.option("--address", required=True)
@click.option("--workers", type=int, required=True)
@click.option("--placement", required=True, help="The placement algorithm, for plans.")
@click.option("--parent", type=int, required=True)
@click.option("--name", "names", multiple=True, required=True, help="The listening host, then other names.")
def main(
    fd: int,
    admin_port: int,
    data: Path,
    address: str,
    workers: int,
    placement: str,
    parent: int,
    names: tuple[str, ...],
) -> None:
    """Serve HTTP on an inherited socket until the launcher ends."""
    tie_to_parent(expected=parent, sent=signal.SIGTERM)
    secure(load_secret(data / "secret"), address, data / "thespian.log")
    options = {
        "bind": f"fd://{fd}",
        "workers": workers,
        "worker_class": "asgi",
        "asgi_lifespan": "on",
        "graceful_timeout": 2,
        "timeout": 60,
        "keepalive": 75,
        "loglevel": "warning",
        "accesslog": None,
        "errorlog": "-",
        "control_socket_disable": True,
        "worker_tmp_dir": None,
        "post_fork": _after_fork,
        "proc_name": "harpoon-web",
    }
    WebServer(options, admin_port, names, placement, data / REGISTER_TOKEN).run()


if __name__ == "__main__":
    main()
