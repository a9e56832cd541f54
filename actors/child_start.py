"""How the process of an actor begins: with as few functions called as it takes.

An actor is a fork, and shares its maker's memory until either of them writes there. CPython counts references
in each object that it touches, so a function that is called just once copies some three pages, 14 KB. As
shipped, multiprocessing and Thespian call 250 functions before an actor's first line, and a fleet has as many
actors as agents. What they do there is done here, as far as our actors need it.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from thespian.system import actorManager, multiprocCommon, utilis
from thespian.system.messages.multiproc import EndpointConnected
from thespian.system.transport import IPBase, TransmitIntent

_ENDING = frozenset({signal.SIGTERM, signal.SIGQUIT, signal.SIGABRT})
_FORMAT = "%(asctime)s %(levelname)s thespian %(message)s"


class ForkedProcess:
    """What Thespian needs of a `multiprocessing.Process`: runs `target` in a fork, and can be waited for."""

    daemon = False

    def __init__(self, target: Callable[..., None], args: tuple[Any, ...] = (), name: str = "") -> None:
        self.name = name
        self._target, self._args = target, args
        self.pid = 0
        self._ended = False

    def start(self) -> None:
        """Fork. In the fork this never returns."""
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._run()
        self._target, self._args = _nothing, ()

    def _run(self) -> None:
        code = 1
        try:
            self._target(*self._args)
            code = 0
        except SystemExit as ending:
            code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
        except BaseException:  # noqa: BLE001 - nothing may return into the maker's frames
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def is_alive(self) -> bool:
        """Whether it has not ended; reaps it."""
        if not self._ended:
            try:
                self._ended = os.waitpid(self.pid, os.WNOHANG)[0] == self.pid
            except ChildProcessError:  # not ours to reap any more
                self._ended = True
        return not self._ended

    def join(self, timeout: float | None = None) -> None:
        """Called for one that has ended: `is_alive` has reaped it."""


class Forking:
    """What Thespian needs of a multiprocessing context."""

    Process = ForkedProcess


def _nothing(*_: Any) -> None:
    """What a process has to do that runs elsewhere."""


def start_lean(address: str) -> None:
    """Have Thespian start its processes as above, on this address; before the first ActorSystem."""
    _look_nothing_up(address)
    multiprocCommon.get_multiproc_context = lambda _capabilities: Forking
    multiprocCommon.startChild = start_child
    multiprocCommon.detach_child = _nothing  # there is no list of children that it would have to leave
    actorManager.actualActorClass = _class_named
    # As shipped it looks at the signature of the class' __init__, for arguments that none of ours has.
    utilis.withPossibleInitArgs.create = lambda _self, actor_class: actor_class()


def _class_named(name: Any, _load: Any = None) -> Any:
    """The class of an actor by its full name; as a rule its maker, of whom we are a fork, imported it."""
    if not isinstance(name, str):
        return name
    module, _, name = name.rpartition(".")
    return getattr(sys.modules.get(module) or importlib.import_module(module), name)


def start_child(  # noqa: PLR0913, PLR0917 - as Thespian calls it
    actor_class: Any,
    global_name: str | None,
    endpoint: Any,
    transport_class: Any,
    source_hash: str | None,
    source: Any,
    parent: Any,
    admin: Any,
    notified: Any,
    logger: Any,
    requirements: Any,
    capabilities: dict[str, Any],
    inherited_files: list[int],
    context: Any,
    log_definitions: Any,
) -> None:
    """Thespian's `startChild`: be the process of one actor until it ends. In a fork of its maker."""
    multiprocCommon.closeFileNums(inherited_files)
    transport = transport_class(endpoint)
    # Not the maker's, which sends what it is told over the maker's connections.
    logging.root = logging.Logger.root = _ROOT  # type: ignore[assignment]  # no RootLogger
    logging.Logger.manager = _MANAGER
    manager = multiprocCommon.MultiProcManager(
        actor_class,
        global_name,
        transport,
        source_hash,
        source,
        parent,
        admin,
        requirements,
        capabilities,
        context,
        log_definitions,
    )
    manager.asLogger = logger
    connected = TransmitIntent(notified, EndpointConnected(endpoint.addrInst))
    connected.addCallback(onFailure=multiprocCommon.actorStartupFailed)
    transport.scheduleTransmit(None, connected)
    name = actor_class if isinstance(actor_class, str) else actor_class.__name__
    utilis.setProcName(name.rpartition(".")[-1], transport.myAddress)
    _Signals.catch(manager)
    manager.run()


def _look_nothing_up(own: str) -> None:
    """Have an actor's own address made without the resolver, which costs each process 0.3 MB."""
    make = IPBase.IPActorAddress.__init__

    def make_own(
        self: Any, af: int, kind: int, protocol: int, base: str | None, port: int, external: Any = False
    ) -> None:
        if base not in (None, own):
            make(self, af, kind, protocol, base, port, external)
            return
        # Plain numbers, not the enumerations of `socket`, which are pickled by name, in each message.
        self.af, self.socktype, self.proto = int(af), int(kind), int(protocol)
        self.sockname = (own, port)
        self.bindname = ("", port) if external else self.sockname

    IPBase.IPActorAddress.__init__ = make_own


class _Signals:
    """The signals of an actor's process. Its forks inherit the handlers, and only say whose they are."""

    manager: Any = None

    @classmethod
    def catch(cls, manager: Any) -> None:
        inherited, cls.manager = cls.manager is not None, manager
        if inherited:
            return
        for each in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            if each == signal.SIGCHLD:
                signal.signal(each, cls._child_died)
            else:
                signal.signal(each, cls._told_to_end if each in _ENDING else cls._told)

    @classmethod
    def _child_died(cls, number: int, frame: Any) -> None:
        cls.manager.signalChildDied(number, frame)

    @classmethod
    def _told_to_end(cls, _number: int, _frame: Any) -> None:
        cls.manager.transport.interrupt_wait(signal_shutdown=True)

    @classmethod
    def _told(cls, number: int, _frame: Any) -> None:
        if number == signal.SIGUSR1:
            cls.manager.thesplogStatus()


def _straight_to_stderr() -> logging.Logger:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT))
    root = logging.Logger("root", logging.WARNING)
    root.addHandler(handler)
    return root


# Where Thespian's own warnings go: made once, and shared by all actors of a host.
_ROOT = _straight_to_stderr()
_MANAGER = logging.Manager(_ROOT)  # type: ignore[arg-type]  # typeshed wants a RootLogger
