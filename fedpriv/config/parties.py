"""From a configuration to the parties of a run: a client's site, a key holder, the server."""

from functools import lru_cache
from pathlib import Path

from fedpriv.config.as_json import from_json, run_digest
from fedpriv.config.audit import build_canaries, build_listener
from fedpriv.config.check_privacy import check_privacy
from fedpriv.config.datasets import build_data, build_shares
from fedpriv.config.ledger import build_purse
from fedpriv.config.models import build_backbone
from fedpriv.config.privacy import build_client_level, build_privacy, plan_of, sum_plan_of, turns_of
from fedpriv.config.schema import EngineName, RunConfig
from fedpriv.config.secure import codec_of, key_folder_of, keys_of, max_updates, policy_of, update_codec_of
from fedpriv.config.training import build_local, build_strategy
from fedpriv.errors import UserError
from fedpriv.federated import faults
from fedpriv.federated.client_app import Keyholder, KeyMaker
from fedpriv.federated.keyholder import KeyHolder
from fedpriv.federated.selection import SelectingKeyHolder, Selection
from fedpriv.federated.server_app import ServerPlan
from fedpriv.federated.site import Site
from fedpriv.he import provision
from fedpriv.he.codec import UpdateCodec
from fedpriv.he.identity import SigningKey
from fedpriv.he.transcript import Transcript
from fedpriv.privacy.sum_plan import update_length
from fedpriv.training.parameters import FlatParameters


def planted_faults(config: RunConfig) -> dict[int, str]:
    """Return the planted fault of each client that has one, from ``["2:raise", "3:nan"]``.

    Raises:
        UserError: for an unknown kind or client.
    """
    planted = {}
    for text in config.federation.faults:
        client, _, kind = text.partition(":")
        if not client.isdecimal() or int(client) >= config.federation.clients or kind not in faults.KINDS:
            raise UserError(
                f"federation.faults={text}: needs CLIENT:KIND with a client below "
                f"{config.federation.clients} and a kind of {', '.join(faults.KINDS)}"
            )
        planted[int(client)] = kind
    return planted


def _selection(config: RunConfig, length: int) -> Selection | None:
    share = config.secure.select_top
    return None if share is None else Selection(share, length)


@lru_cache(maxsize=2)
def build_site(text: str) -> Site:
    """Return the client side; one per process and configuration.

    Raises:
        UserError: when the configuration is weaker than the enrolment's policy, before all else, or
            promises privacy that its updates would not have.
    """
    config = from_json(text)
    if config.secure.key_folder is not None:  # without one nobody can sign, so nothing is trained
        provision.enrolment_for(key_folder_of(config), policy_of(config))
    check_privacy(config)  # a server need not have done so
    task, training, _ = build_data(text)
    shares = build_shares(config, training)
    backbone = build_backbone(text)
    parameters = FlatParameters(backbone).layout.size
    return Site(
        run_id=config.run_id or "",
        run_digest=run_digest(config),
        seed=config.seed,
        rounds=config.federation.rounds,
        task=task,
        training=training,
        shares=shares,
        backbone=backbone,
        local=build_local(config),
        privacy=build_privacy(config),
        codec=update_codec_of(text),
        key_folder=None if config.secure.key_folder is None else Path(config.secure.key_folder),
        faults=planted_faults(config),
        selection=_selection(config, parameters),
        map_scale=min(1.0, config.secure.value_range),
        client_level=build_client_level(config),
        purse=build_purse(config, training.name),
        canaries=build_canaries(config, parameters),
    )


@lru_cache(maxsize=32)
def build_keyholder(text: str, number: int) -> Keyholder:
    """Return key holder ``number``, with its key; one per process and configuration.

    Raises:
        UserError: when the configuration is weaker than the enrolment's policy, before all else, promises
            privacy that its sums would not have, or its key or transcript is missing, damaged or another
            run's.
    """
    config = from_json(text)
    folder = key_folder_of(config)
    enrolment = provision.enrolment_for(folder, policy_of(config))
    check_privacy(config)
    codec = update_codec_of(text)
    party = provision.keyholder_folder(folder, number)
    layout, noise = FlatParameters(build_backbone(text)).layout, sum_plan_of(config)
    signer = SigningKey.load(provision.signing_key_file(party))
    transcript = Transcript(provision.transcript_file(party), signer)

    def around(codec: UpdateCodec, max_clients: int, rounds: range) -> KeyHolder:
        return KeyHolder(
            number=number,
            holder=codec.holder(party),
            codec=codec,
            enrolment=enrolment,
            transcript=transcript,
            run_id=bytes.fromhex(config.run_id or ""),
            run=run_digest(config),
            parameters=update_length(layout.size, noise),
            layout=layout.digest,
            rounds=rounds,
            last_round=config.federation.rounds,
            # fewer would not bring the noise that the plan counts on, whatever the server says
            min_clients=max(config.secure.min_clients, 1 if noise is None else noise.contributors),
            max_clients=max_clients,
            signer=signer,
        )

    selection, training = _selection(config, layout.size), range(1, config.federation.rounds + 1)
    if selection is None:
        return around(codec, max_updates(config), training)
    whole = around(codec, config.federation.clients, range(1))
    return SelectingKeyHolder(
        whole, selection, codec, lambda chosen: around(chosen, max_updates(config), training)
    )


@lru_cache(maxsize=32)
def build_key_maker(text: str, number: int) -> KeyMaker:
    """Return key holder ``number`` as a member of the committee that makes the run's key.

    Raises:
        UserError: when the configuration is weaker than the enrolment's policy, before all else, its
            signing key or the enrolment is missing or damaged, or there is no committee.
    """
    from fedpriv.he.committee import CommitteeCodec  # on use: a plain run needs no encryption library

    config = from_json(text)
    folder = key_folder_of(config)
    enrolment = provision.enrolment_for(folder, policy_of(config))
    codec = codec_of(config)
    if not isinstance(codec, CommitteeCodec):
        raise UserError(f"secure.keys={keys_of(config).value}: makes no key; use secure.keys=committee")
    party = provision.keyholder_folder(folder, number)
    return codec.member(
        party,
        number,
        bytes.fromhex(config.run_id or ""),
        SigningKey.load(provision.signing_key_file(party)),
        enrolment,
    )


def _turns(config: RunConfig) -> float:
    """How many clients' times a cohort may take: on Ray its clients queue for the actors."""
    if config.engine.name is not EngineName.ray:
        return 1.0
    return 1.0 + max_updates(config)


def build_server_plan(text: str) -> ServerPlan:
    """Return the server side. Of the key folder it reads the enrolment and nothing else.

    Raises:
        UserError: when the configuration is weaker than the enrolment's policy: nobody would take part.
    """
    config = from_json(text)
    enrolment = provision.enrolment_for(key_folder_of(config), policy_of(config))
    task, _, test = build_data(text)
    federation = config.federation
    return ServerPlan(
        run_id=config.run_id or "",
        run_digest=run_digest(config),
        seed=config.seed,
        clients=federation.clients,
        rounds=federation.rounds,
        cohort=federation.cohort,
        min_replies=federation.min_replies,
        client_timeout_s=federation.client_timeout_s * _turns(config),
        start_timeout_s=federation.start_timeout_s,
        evaluate_every=config.evaluation.every,
        task=task,
        test=test,
        backbone=build_backbone(text),
        codec=update_codec_of(text),
        enrolment=enrolment,
        strategy=build_strategy(config),
        select_top=config.secure.select_top,
        client_level=build_client_level(config),
        plan_of=plan_of(config),
        listener=build_listener(text),
        turns=turns_of(config),
    )
