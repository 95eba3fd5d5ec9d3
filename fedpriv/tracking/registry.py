"""MLflow's registry of models: final models under a name, each version with its privacy statement."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from fedpriv.errors import UserError
from fedpriv.model_names import ModelName, check_alias, check_model_name, is_run_id, parse_model_name
from fedpriv.tracking.histories import curves_of
from fedpriv.tracking.last_round import ROUNDS, lack
from fedpriv.tracking.model_loading import final_model, read_description
from fedpriv.tracking.model_statement import in_words, tags_of
from fedpriv.tracking.params import TAG_LENGTH, cut
from fedpriv.tracking.quiet import quiet_mlflow
from fedpriv.tracking.secrets import hide_in_text
from fedpriv.tracking.store import Location, answering, exclusive, locate, open_run
from fedpriv.uninterrupted import uninterrupted

_VERSIONS_TAG = "mlflow.modelVersions"
"""By this tag of a logged model MLflow's web page shows its versions."""


@dataclass(frozen=True)
class Registered:
    """A version of a registered model.

    Attributes:
        name: ``models:/NAME/VERSION``.
        run_id: the run that made it.
        description: what it promises, in words.
        tags: the same by name.
    """

    name: str
    run_id: str
    description: str
    tags: dict[str, str]


@dataclass(frozen=True)
class Found:
    """Where a final model is.

    Attributes:
        source: for messages.
        run_id: the run that made it.
        location: which of the run's models, for :func:`fedpriv.tracking.model_loading.load_model`.
    """

    source: str
    run_id: str
    location: str | None


def register(
    uri: str | None, run_id: str, name: str, alias: str | None = None, ended: bool = True
) -> Registered:
    """Make the final model of a run the next version of the registered model ``name``.

    The version's tags are ``epsilon``, ``delta``, ``privacy_unit``, ``privacy_relation``,
    ``privacy_accountant``, ``privacy_noise``, ``privacy_noise_by``, ``lifetime_epsilon`` and
    ``audit_refuted`` where the run has them, ``data``, ``data_id`` (SHA-256 of what was trained on and
    tested with: names of the people, targets, identities and the clients' shares, but no pixels), ``task``,
    ``secure_scheme``, ``metric``, ``metric_value`` (where it was measured, and finite, after the last round),
    ``input``, ``run_id``, ``model_id`` and ``fedpriv_version``; its description says the privacy in words.
    MLflow keeps the model's signature with the model.

    Guarantee:
        - Runs that register at the same moment get a version each.
        - A run has one version under a name: registered again it is the same. For SQLite that holds at any
          moment, for one process at a time registers. A server does not keep others out: of processes that
          register one run at the same moment each looks again after its own version is made, and takes it
          back where there is an older one. All return the oldest; the others were there for a moment, their
          numbers stay unused, and one stays that a process made which was killed before it looked.

    Args:
        uri: tracking URI, as for :func:`fedpriv.tracking.store.locate`; the registry is in the same store.
        run_id: the run.
        name: see :func:`fedpriv.model_names.check_model_name`.
        alias: what the version shall be called too; a version that has it loses it.
        ended: refuse a run that has not finished.

    Raises:
        UserError: when name or alias are none, the run is not there, has not finished or has no model, or
            another program's, its statement of privacy is none, or the store does not take it.
    """
    check_model_name("name", name)
    if alias is not None:
        check_alias("alias", alias)
    place = locate(uri)
    client, run = open_run(place, run_id)
    if ended and run.info.status != "FINISHED":
        raise UserError(
            f"run_id={run_id}: is {run.info.status}, so its model is not final; resume the run first"
        )
    model = final_model(client, run)
    described = read_description(client, model, run)
    takes = f"{described.dtype} (B, {', '.join(map(str, described.in_shape))})"
    said = tags_of(run, model, described.statement, takes, _value(place, run))
    tags = {key: cut(text, TAG_LENGTH) for key, text in said.items()}
    description = cut(in_words(run, described.statement), TAG_LENGTH)
    try:
        with quiet_mlflow(), exclusive(place.database), uninterrupted():
            version = _version(_registry(place), name, run_id, model, tags, description, place)
            if alias is not None:
                _registry(place).set_registered_model_alias(name, alias, str(version.version))
    except OSError as error:
        raise UserError(
            f"tracking.uri: {error.strerror or error}; choose a folder you can write to"
        ) from error
    except (MlflowException, SQLAlchemyError) as error:
        raise _refused(name, place, error) from error
    return Registered(
        f"models:/{name}/{version.version}", run_id, version.description or "", dict(version.tags)
    )


def find(uri: str | None, source: str) -> Found:
    """Return where the model is that ``source`` names.

    Args:
        uri: tracking URI, as for :func:`fedpriv.tracking.store.locate`.
        source: a run id, or a registered model, see :func:`fedpriv.model_names.parse_model_name`; without a
            version the newest.

    Raises:
        UserError: when it is none of these, or is not registered, or not from a run, or the store does not
            answer.
    """
    if is_run_id(source):
        return Found(f"run_id={source}", source, None)
    wanted = parse_model_name(source)
    place = locate(uri)
    if place.database is not None and not place.database.exists():
        raise UserError(f"{wanted}: no database {place.database}; name the one it was registered in")
    with answering(place):
        try:
            version = _named(_registry(place), wanted)
        except MlflowException as error:
            raise _refused(wanted.name, place, error) from error
    if version is None:
        raise UserError(
            f"{wanted}: is not registered in {hide_in_text(place.uri, ())}; register a run's model with "
            f"`fedpriv register RUN_ID {wanted.name}`"
        )
    shown = f"models:/{wanted.name}/{version.version}"
    if not version.run_id or not is_run_id(version.run_id):
        raise UserError(f"{shown}: names no run that made it; choose a version that fedpriv registered")
    return Found(shown, version.run_id, version.source)


def _value(place: Location, run: Run) -> float | None:
    metric = run.data.tags.get("metric")
    if metric is None:
        return None
    names = [name for name in (metric, ROUNDS) if name in run.data.metrics]
    curves = curves_of(place.uri, {run.info.run_id: names})[run.info.run_id]
    last = max(curves.get(ROUNDS, {}), default=None)
    why = lack(run.data.metrics, metric, curves.get(metric, {}), last)
    return None if why else run.data.metrics[metric]


def _registry(place: Location) -> MlflowClient:
    # both named, for the environment may name another registry
    return MlflowClient(place.uri, registry_uri=place.uri)


def _named(client: MlflowClient, wanted: ModelName) -> ModelVersion | None:
    try:
        if wanted.version is not None:
            return client.get_model_version(wanted.name, str(wanted.version))
        if wanted.alias is not None:
            return client.get_model_version_by_alias(wanted.name, wanted.alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    newest = client.search_model_versions(
        f"name = '{wanted.name}'", max_results=1, order_by=["version_number DESC"]
    )
    return newest[0] if newest else None


def _version(
    client: MlflowClient,
    name: str,
    run_id: str,
    model: LoggedModel,
    tags: Mapping[str, str],
    description: str,
    place: Location,
) -> ModelVersion:
    """Return the run's version under this name, the oldest; made where there is none."""
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    if (before := _oldest(client, name, run_id)) is not None:
        return before
    # a local store resolves models:/ by MLflow's global address, a server admits only what it resolves itself
    source = f"models:/{model.model_id}" if place.database is None else model.artifact_location
    version = client.create_model_version(
        name, source, run_id, dict(tags), description=description, model_id=model.model_id
    )
    oldest = _oldest(client, name, run_id)
    if oldest is not None and int(oldest.version) < int(version.version):
        client.delete_model_version(name, str(version.version))
        return oldest
    client.set_logged_model_tags(model.model_id, {_VERSIONS_TAG: _with(model, name, version)})
    return version


def _oldest(client: MlflowClient, name: str, run_id: str) -> ModelVersion | None:
    found = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    first = min(found, key=lambda each: int(each.version), default=None)
    return None if first is None else client.get_model_version(name, str(first.version))  # with its tags


def _with(model: LoggedModel, name: str, version: ModelVersion) -> str:
    try:
        before = json.loads(model.tags.get(_VERSIONS_TAG, "[]"))
    except ValueError:
        before = []
    return json.dumps(
        [*(before if isinstance(before, list) else []), {"name": name, "version": version.version}]
    )


def _refused(name: str, place: Location, error: MlflowException | SQLAlchemyError) -> UserError:
    reason = hide_in_text(str(error).strip().partition("\n")[0] or type(error).__name__, ())
    return UserError(
        f"models:/{name}: {hide_in_text(place.uri, ())} refuses: {reason[:300]}; check the address"
    )
