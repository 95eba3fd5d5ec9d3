"""The two Flower apps with everything bound: what engines and deployments load."""

from collections.abc import Callable

from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from fedpriv.config.parties import build_key_maker, build_keyholder, build_server_plan, build_site
from fedpriv.federated.client_app import make_client_app
from fedpriv.federated.relayed import RelayedReply, RelayedRequest
from fedpriv.federated.server_app import Outcome, ServerPlan, make_server_app
from fedpriv.federated.strategy.session import RunObserver


def client_app(config: str | None = None, time_limit_s: float | None = None) -> ClientApp:
    """Return the ClientApp for a configuration (JSON), or for the one in Flower's run config.

    ``time_limit_s`` is for engines that cannot end a late client themselves.
    """
    return make_client_app(
        build_site, build_keyholder, build_key_maker, config, time_limit_s, _ask_through_relays
    )


def _ask_through_relays(text: str, client: int, settings: str, request: RelayedRequest) -> RelayedReply:
    from fedpriv.relayed.asking import ask  # on use: who trains needs no web client

    return ask(text, client, settings, request)


def server_app(
    config: str | None = None,
    observers: tuple[RunObserver, ...] = (),
    finished: Callable[[Outcome], None] | None = None,
    prepare: Callable[[ServerPlan], None] | None = None,
) -> ServerApp:
    """Return the ServerApp for a configuration (JSON), or for the one in Flower's run config.

    ``prepare`` may change the plan before the run, e.g. say where an interrupted one goes on.
    """

    def plan(text: str) -> ServerPlan:
        built = build_server_plan(text)
        built.observers.extend(observers)
        if prepare is not None:
            prepare(built)
        return built

    return make_server_app(plan, config, finished)
