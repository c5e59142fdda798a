"""The whole shop: which services it has, in which order they start, and who is told of whom.

    ports = shop_ports(5000)
    with Supervisor() as supervisor:
        supervisor.start_all(shop_services("redis://127.0.0.1:6379", ports))

    gateway --> customers, products, inventory, orders, billing        orders --> inventory
    crm --> mail

Whoever is called starts before its caller, so that the gateway is the last to come and the first to go.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ordershop.entities import Topic
from ordershop.server.url import Address, ServerUrl
from ordershop.supervisor import Service, free_ports

# The service that owns each topic.
OWNERS: dict[Topic, str] = {
    "customer": "customers",
    "product": "products",
    "inventory": "inventory",
    "order": "orders",
    "billing": "billing",
}
# All but the CRM listen on a port.
WITH_PORT = ("mail", "customers", "products", "inventory", "orders", "billing", "gateway")
SERVICES = ("mail", "crm", *WITH_PORT[1:])


def shop_ports(gateway_port: int | None = None) -> dict[str, int]:
    """A port for each service that has one.

    Args:
        gateway_port: the gateway's; None for any that is free, as the others have.
    """
    ports = dict(zip(WITH_PORT, free_ports(len(WITH_PORT)), strict=True))
    if gateway_port is not None:
        ports["gateway"] = gateway_port
    return ports


def url_of(port: int) -> str:
    """The URL of a service on this machine."""
    return f"http://127.0.0.1:{port}"


def shop_services(
    server: Address | str,
    ports: Mapping[str, int],
    *,
    namespace: str = "",
    state: Path | None = None,
    host: str = "127.0.0.1",
) -> list[Service]:
    """The services of a shop, in the order of their start.

    Args:
        server: the address of Redis.
        ports: of `shop_ports`.
        state: where the mail service keeps its outbox and the CRM its position; None: nowhere.
        host: on which address the gateway listens; all others are for this machine alone.
    """
    address = ServerUrl(server)
    store = ("--namespace", namespace)
    kept = ("--state", str(state)) if state else ()
    told: dict[str, tuple[str, ...]] = dict.fromkeys(SERVICES, store)
    told["mail"] = ("--outbox", str(state / "mails.jsonl")) if state else ()
    told["crm"] = (*store, "--mail", url_of(ports["mail"]), *kept)
    told["orders"] = ("--inventory", url_of(ports["inventory"]))
    told["gateway"] = (*store, "--host", host)
    for owner in OWNERS.values():
        told["gateway"] += (f"--{owner}", url_of(ports[owner]))
    services = []
    for name in SERVICES:
        port = ports.get(name)
        listening = ("--port", str(port)) if port else ()
        needs = address if "--namespace" in told[name] else None
        services.append(Service(name, f"ordershop.services.{name}", (*listening, *told[name]), port, store=needs))
    return services
