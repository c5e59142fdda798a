"""The same services inside one process, for small machines: a thread that serves them all, one for the CRM.

Each service listens on a port of its own and is called over HTTP, as if it were alone: what is tested of the
shop in processes holds here too. What is lost is that a crash of one is a crash of all. It can be stopped and
started service by service as a `Supervisor` can, but not killed or frozen.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import uvicorn
import uvloop

from ordershop.async_store import AsyncEventStore
from ordershop.server.url import Address
from ordershop.services import billing, crm, customers, gateway, inventory, mail, orders, products
from ordershop.services.app import App, uvicorn_config
from ordershop.services.peer import Peer
from ordershop.shop import OWNERS, SERVICES, url_of
from ordershop.supervisor import START_TIMEOUT_S, State, SupervisorError


class OneProcess:
    """A shop in this process.

    Args:
        server: the address of Redis.
        ports: of `shop_ports`.
        state: where the mail service keeps its outbox and the CRM its position; None: nowhere.
        host: on which address the gateway listens; all others are for this machine alone.
    """

    def __init__(
        self,
        server: Address | str,
        ports: Mapping[str, int],
        *,
        namespace: str = "",
        state: Path | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self._server = server
        self._host = host
        self._ports = ports
        self._namespace = namespace
        self._state = state
        self._apps: dict[str, Callable[[], App]] = {
            "mail": lambda: mail.make_app(mail.Outbox(state / "mails.jsonl" if state else None)),
            "customers": lambda: customers.make_app(self._store()),
            "products": lambda: products.make_app(self._store()),
            "inventory": lambda: inventory.make_app(self._store()),
            "orders": lambda: orders.make_app(self._peer("inventory", orders.TIMEOUT_S)),
            "billing": lambda: billing.make_app(self._store()),
            "gateway": lambda: gateway.make_app(
                self._store(), {name: self._peer(name, gateway.TIMEOUT_S) for name in OWNERS.values()}
            ),
        }
        self._serving: dict[str, tuple[uvicorn.Server, asyncio.Task[None]]] = {}
        self._crm: tuple[threading.Thread, threading.Event] | None = None
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="shop", daemon=True)
        self._thread.start()

    @property
    def names(self) -> list[str]:
        """The services, in the order of their start."""
        return list(SERVICES)

    def start_all(self) -> None:
        """Start all services.

        Raises:
            SupervisorError: one cannot listen on its port.
        """
        for name in SERVICES:
            self.start_again(name)

    def start_again(self, name: str) -> None:
        """Start a service that does not run.

        Raises:
            SupervisorError: it runs already, or cannot listen on its port.
        """
        if self.state(name) == "running":
            raise SupervisorError(f"{name} is running already")
        if name == "crm":
            stop = threading.Event()
            thread = threading.Thread(target=self._listen, args=(stop,), name="crm", daemon=True)
            self._crm = (thread, stop)
            thread.start()
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host if name == "gateway" else "127.0.0.1", self._ports[name]))
        except OSError as error:
            listener.close()
            raise SupervisorError(f"{name} cannot listen on port {self._ports[name]}: {error}") from error
        asyncio.run_coroutine_threadsafe(self._serve(name, listener), self._loop).result(START_TIMEOUT_S)

    def stop(self, name: str) -> None:
        """Stop a service; nothing for one that does not run."""
        if name == "crm":
            if self._crm is not None:
                self._crm[1].set()
                self._crm[0].join()
        elif self.state(name) == "running":
            server, task = self._serving.pop(name)
            server.should_exit = True
            asyncio.run_coroutine_threadsafe(_ended(task), self._loop).result(START_TIMEOUT_S)

    def state(self, name: str) -> State:
        """What a service is doing.

        Raises:
            SupervisorError: there is no such service.
        """
        if name not in SERVICES:
            raise SupervisorError(f"there is no service {name!r}")
        if name == "crm":
            running = self._crm is not None and self._crm[0].is_alive()
        else:
            running = name in self._serving and not self._serving[name][1].done()
        return "running" if running else "stopped"

    def pid(self, name: str) -> int | None:
        """This process's id for a service that runs, else None."""
        return os.getpid() if self.state(name) == "running" else None

    def close(self) -> None:
        """Stop all services, the last started first."""
        for server, _ in self._serving.values():
            server.should_exit = True  # all at once: each takes a moment to notice
        for name in reversed(SERVICES):
            self.stop(name)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _store(self) -> AsyncEventStore:
        return AsyncEventStore(self._server, self._namespace)

    def _peer(self, name: str, timeout_s: float) -> Peer:
        return Peer(name, url_of(self._ports[name]), timeout_s=timeout_s)

    def _listen(self, stop: threading.Event) -> None:
        crm.listen(self._server, url_of(self._ports["mail"]), stop, namespace=self._namespace, state=self._state)

    async def _serve(self, name: str, listener: socket.socket) -> None:
        server = uvicorn.Server(uvicorn_config(self._apps[name](), self._ports[name]))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        self._serving[name] = (server, task)
        while not server.started and not task.done():
            await asyncio.sleep(0.005)


async def _ended(task: asyncio.Task[None]) -> None:
    await task
