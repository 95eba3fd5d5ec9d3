"""The one ClientApp: a thin wrapper that turns Flower messages into calls of plain functions."""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedpriv.errors import UserError
from fedpriv.federated import client, faults, holder_messages, messages
from fedpriv.federated.deadline import ClientTimeout, deadline
from fedpriv.federated.holder_messages import KeysRequest
from fedpriv.federated.keyholder import OpenRequest, Refusal
from fedpriv.federated.memory import recall, remember
from fedpriv.federated.messages import Description, MessageError, TrainRequest
from fedpriv.federated.relayed import RelayedInference, RelayedRequest
from fedpriv.federated.site import Site
from fedpriv.he.answer import SignedAnswer
from fedpriv.he.codec import KeyRefused
from fedpriv.privacy.purse import LedgerUnusable

CONFIG_KEY = "cfg-json"
"""Key of the run configuration (JSON) in Flower's run config."""


class Keyholder(Protocol):
    """What a key holder's node does, see :class:`fedpriv.federated.keyholder.KeyHolder`."""

    def open(self, request: OpenRequest) -> SignedAnswer:
        """Return this holder's part of opening a round's sum, signed."""


class KeyMaker(Protocol):
    """A key holder while the committee makes its key, see :mod:`fedpriv.he.joint_key`."""

    def step(self, step: str, blobs: list[bytes]) -> bytes:
        """Answer one step."""


SiteBuilder = Callable[[str], Site]
KeyholderBuilder = Callable[[str, int], Keyholder]
KeyMakerBuilder = Callable[[str, int], KeyMaker]

log = logging.getLogger("fedpriv.client")
_building = threading.Lock()


def make_client_app(
    build_site: SiteBuilder,
    build_keyholder: KeyholderBuilder,
    build_key_maker: KeyMakerBuilder,
    config: str | None = None,
    time_limit_s: float | None = None,
    ask_relays: RelayedInference | None = None,
) -> ClientApp:
    """Return the ClientApp.

    A node is client ``partition-id`` of its node config. The nodes after the last client are the
    key holders of a simulation, numbered from 0; on real sites a key holder's node config says its
    number as ``holder``, and every node config says as ``key-folder`` where the party's keys and its
    enrolment are: otherwise the configuration, which is the server's word, names that folder too. A node
    config of a real site also decides on its ledger of privacy: ``ledger-folder`` says where it is, or it
    is where this user's is by default, and ``lifetime-epsilon`` what all runs may spend, which the server
    can only lower. ``relay-settings`` names the party's settings for the relays: without it a real site
    sends no image, for whoever names the settings says which model server can open it.

    Args:
        build_site: makes (or finds again) the site for a configuration.
        build_keyholder: makes (or finds again) what opens sums for a key holder's number; it reads the key.
        build_key_maker: the same for what makes a committee's key.
        config: the configuration as JSON; None reads it from ``context.run_config``.
        time_limit_s: seconds after which training is given up, for engines that cannot do so
            themselves; None for no limit.
        ask_relays: sends a client's test images through the relays; None refuses to.
    """
    app = ClientApp()

    def configuration(context: Context) -> str:
        text = config if config is not None else str(context.run_config[CONFIG_KEY])
        return _with_own(text, context.node_config)

    def holder_number(context: Context) -> int | None:
        """Return the number of the key holder that this node is, or None for a client."""
        if "holder" in context.node_config:
            return int(context.node_config["holder"])
        after = _partition(context) - _one_site(build_site, configuration(context)).clients
        return after if after >= 0 else None

    def require_holder(context: Context) -> int:
        number = holder_number(context)
        if number is None:
            raise MessageError("wrong_role")
        return number

    @app.query("describe")
    def describe(message: Message, context: Context) -> Message:
        def answer() -> RecordDict:
            number = holder_number(context)
            if number is not None:
                return Description(messages.ROLE_KEYHOLDER, number, 0).to_content()
            site, partition = _one_site(build_site, configuration(context)), _partition(context)
            examples = len(site.shares[partition])
            site.plan(partition)  # solves the noise now, before the first round
            if config is None and (said := site.said_of_copies(partition)) is not None:
                log.warning("%s", said)  # of a simulation's clients its console says it once
            return Description(messages.ROLE_CLIENT, partition, examples).to_content()

        return _answer(message, answer)

    @app.query("keys")
    def keys(message: Message, context: Context) -> Message:
        def answer() -> RecordDict:
            maker = build_key_maker(configuration(context), require_holder(context))
            request = KeysRequest.from_content(message.content)
            return holder_messages.pack_answer(maker.step(request.step, list(request.blobs)))

        return _answer(message, answer)

    @app.query("sensitivity")
    def sensitivity(message: Message, context: Context) -> Message:
        def answer() -> RecordDict:
            if holder_number(context) is not None:
                raise MessageError("wrong_role")
            site = _one_site(build_site, configuration(context))
            request = TrainRequest.from_content(message.content)
            try:
                with site.lock, deadline(time_limit_s):
                    return client.sensitivity(site, _partition(context), request).to_content()
            except ClientTimeout:
                raise MessageError("no_reply") from None

        return _answer(message, answer)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        def answer() -> RecordDict:
            if holder_number(context) is not None:
                raise MessageError("wrong_role")
            site = _one_site(build_site, configuration(context))
            request = TrainRequest.from_content(message.content)
            number = _partition(context)
            with site.lock:
                # inside: a memory read before another message's round would forget that round
                memory = recall(context, site.latest.get(number))
                try:
                    with deadline(time_limit_s):
                        return client.train(site, number, request, memory).to_content()
                except ClientTimeout:
                    raise MessageError("no_reply") from None
                finally:
                    site.latest[number] = replace(memory, head=None)
                    remember(context, memory)

        return _answer(message, answer)

    @app.query("open")
    def open_sum(message: Message, context: Context) -> Message:
        def answer() -> RecordDict:
            keyholder = build_keyholder(configuration(context), require_holder(context))
            signed = keyholder.open(holder_messages.unpack_open(message.content))
            return holder_messages.pack_signed_answer(signed)

        return _answer(message, answer)

    @app.query("relayed")
    def relayed(message: Message, context: Context) -> Message:
        def answer() -> RecordDict:
            if holder_number(context) is not None:
                raise MessageError("wrong_role")
            text, number = configuration(context), _partition(context)
            request = RelayedRequest.from_content(message.content)
            site = _one_site(build_site, text)
            if request.run_id != site.run_id:
                raise MessageError("wrong_run")
            sent = None if config is None else request.settings
            settings = context.node_config.get("relay-settings", sent)
            if ask_relays is None or settings is None:
                raise MessageError("no_relays")
            try:
                with deadline(time_limit_s):
                    faults.before_training(site.faults.get(number))
                    return ask_relays(text, number, str(settings), request).to_content()
            except ClientTimeout:
                raise MessageError("no_reply") from None

        return _answer(message, answer)

    return app


def _one_site(build_site: SiteBuilder, text: str) -> Site:
    """Return the site; messages that come at once get the same one, with one lock and one memory."""
    with _building:
        return build_site(text)


def _with_own(text: str, own: Mapping[str, object]) -> str:
    """Return the configuration with what is the party's own, as its node config says it."""
    if not {"key-folder", "ledger-folder", "lifetime-epsilon"} & own.keys():
        return text
    plain = json.loads(text)
    if "key-folder" in own:
        plain["secure"]["key_folder"] = str(own["key-folder"])
    privacy = plain.setdefault("privacy", {})
    privacy["ledger"] = str(own.get("ledger-folder", "default"))
    if "lifetime-epsilon" in own:
        limits = [own["lifetime-epsilon"], privacy.get("lifetime_epsilon")]
        try:
            privacy["lifetime_epsilon"] = min(float(str(limit)) for limit in limits if limit is not None)
        except ValueError:
            raise UserError(f"node config: lifetime-epsilon={limits[0]}: needs a number") from None
    return json.dumps(plain)


def _partition(context: Context) -> int:
    return int(context.node_config["partition-id"])


def _answer(message: Message, answer: Callable[[], RecordDict]) -> Message:
    """Run ``answer``; what fails is logged here and named, never quoted, to the server."""
    kind = message.metadata.message_type
    try:
        content = answer()
    except (MessageError, Refusal, KeyRefused) as error:
        log.info("%s refused: %s", kind, error)
        content = messages.failure(error.cause)
    except UserError as error:
        log.error("%s failed: %s", kind, error)
        content = messages.failure(
            "ledger_unusable" if isinstance(error, LedgerUnusable) else "misconfigured"
        )
    except Exception:
        log.exception("%s failed", kind)
        content = messages.failure("exception")
    return Message(content, reply_to=message)
