"""The one ClientApp: a thin wrapper that turns Flower messages into calls of plain functions."""

import logging
from collections.abc import Callable

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedpriv.federated import client, keyholder, messages
from fedpriv.federated.deadline import ClientTimeout, deadline
from fedpriv.federated.keyholder import OpenSum
from fedpriv.federated.memory import recall, recall_released, remember, remember_released
from fedpriv.federated.messages import Description, MessageError, ReleaseRequest, TrainRequest
from fedpriv.federated.site import Site

CONFIG_KEY = "cfg-json"
"""Key of the run configuration (JSON) in Flower's run config."""

SiteBuilder = Callable[[str], Site]
KeyholderBuilder = Callable[[str], OpenSum]

log = logging.getLogger("fedpriv.client")


def make_client_app(
    build_site: SiteBuilder,
    build_keyholder: KeyholderBuilder,
    config: str | None = None,
    time_limit_s: float | None = None,
) -> ClientApp:
    """Return the ClientApp.

    A node is client ``partition-id`` of its node config; the node after the last client, or one
    whose node config says ``role = "keyholder"``, is the key holder.

    Args:
        build_site: makes (or finds again) the site for a configuration.
        build_keyholder: makes the function that opens sums, reading the key from its file.
        config: the configuration as JSON; None reads it from ``context.run_config``.
        time_limit_s: seconds after which training is given up, for engines that cannot do so
            themselves; None for no limit.
    """
    app = ClientApp()

    def configuration(context: Context) -> str:
        return config if config is not None else str(context.run_config[CONFIG_KEY])

    def is_keyholder(context: Context, site: Site) -> bool:
        return context.node_config.get("role") == messages.ROLE_KEYHOLDER or (
            _partition(context) >= site.clients
        )

    @app.query("describe")
    def describe(message: Message, context: Context) -> Message:
        def answer() -> RecordDict:
            site, partition = build_site(configuration(context)), _partition(context)
            if is_keyholder(context, site):
                return Description(messages.ROLE_KEYHOLDER, partition, 0).to_content()
            examples = len(site.shares[partition])
            site.plan(partition)  # solves the noise now, before the first round
            return Description(messages.ROLE_CLIENT, partition, examples).to_content()

        return _answer(message, answer)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        def answer() -> RecordDict:
            site = build_site(configuration(context))
            if is_keyholder(context, site):
                raise MessageError("wrong_role")
            request = TrainRequest.from_content(message.content)
            memory = recall(context)
            try:
                with site.lock, deadline(time_limit_s):
                    return client.train(site, _partition(context), request, memory).to_content()
            except ClientTimeout:
                raise MessageError("no_reply") from None
            finally:
                remember(context, memory)

        return _answer(message, answer)

    @app.query("release")
    def release(message: Message, context: Context) -> Message:
        def answer() -> RecordDict:
            text = configuration(context)
            if not is_keyholder(context, build_site(text)):
                raise MessageError("wrong_role")
            request = ReleaseRequest.from_content(message.content)
            released = recall_released(context)
            try:
                return messages.pack_sum(keyholder.release(build_keyholder(text), request, released))
            finally:
                remember_released(context, released)

        return _answer(message, answer)

    return app


def _partition(context: Context) -> int:
    return int(context.node_config["partition-id"])


def _answer(message: Message, answer: Callable[[], RecordDict]) -> Message:
    """Run ``answer``; what fails is logged here and named, never quoted, to the server."""
    try:
        content = answer()
    except MessageError as error:
        log.info("%s refused: %s", message.metadata.message_type, error.cause)
        content = messages.failure(error.cause)
    except Exception:
        log.exception("%s failed", message.metadata.message_type)
        content = messages.failure("exception")
    return Message(content, reply_to=message)
