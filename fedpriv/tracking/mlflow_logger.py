"""One federated run, written to MLflow."""

import hashlib
import logging
import shlex
import tempfile
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from PIL import Image
from torch import nn

from fedpriv.privacy.accounting import Spent
from fedpriv.privacy.audit_verdict import Verdict
from fedpriv.privacy.rounded import at_most
from fedpriv.results import RoundResult
from fedpriv.tracking.figure_files import save_picture
from fedpriv.tracking.model_artifact import CONFIG_DIGEST, CONFIG_FILE, log_model, try_model
from fedpriv.tracking.outbox import Outbox
from fedpriv.tracking.params import TAG_LENGTH, batches, clean_name, config_hash, cut, flatten
from fedpriv.tracking.plain_yaml import plain_text
from fedpriv.tracking.provenance import git_commit, library_versions
from fedpriv.tracking.round_metrics import finite, round_metrics
from fedpriv.tracking.secrets import hide_in_override, hide_in_text, hide_secrets
from fedpriv.tracking.store import RUN_KEY, find_run, locate, open_experiment, open_run
from fedpriv.types import AnyArray, Metrics
from fedpriv.uninterrupted import uninterrupted

Status = Literal["FINISHED", "FAILED", "KILLED"]

EPSILON_SO_FAR = {
    "epsilon_is": "of the last round that is written here; what was released since is not in it"
}
"""Tag of a private run from its start; stays where its process was killed."""
_EPSILON_WHOLE = {"epsilon_is": "of the whole run"}
PATIENCE_S = 5.0
"""For how long a run that has failed waits for its store."""
_log = logging.getLogger("fedpriv")


class RunLogger:
    """Writes one run; every call names the run's id, MLflow's global state is not used.

    Guarantee:
        Nothing written holds a secret of the configuration (:mod:`fedpriv.tracking.secrets`):
        parameters, ``config.yaml``, tags, overrides and the message of a failure.
        Metrics of a round are written at step = round number.
        A store that fails for a moment loses nothing: rounds are kept and written with the next
        call; :meth:`finish` raises if they cannot be.
        Metrics and tags are written by a thread (:mod:`fedpriv.tracking.outbox`) while the run goes on;
        :meth:`flush` and :meth:`finish` wait for it.

    As a context manager it finishes the run: FINISHED, or FAILED with the tag ``failure`` after an
    exception, or KILLED after ``KeyboardInterrupt`` or ``SystemExit``. Not for use from two threads.
    """

    def __init__(
        self,
        client: MlflowClient,
        run_id: str,
        uri: str,
        experiment: str,
        secrets: Iterable[str] = (),
        known: Collection[str] = (),
    ) -> None:
        """Bind to a run that exists; :meth:`start` makes one.

        Args:
            client: bound to ``uri``.
            run_id: the run.
            uri: tracking URI, absolute.
            experiment: name of the run's experiment.
            secrets: texts to hide in failure messages.
            known: names of metrics that the run has already.
        """
        self.run_id = run_id
        self.uri = uri
        self.experiment = experiment
        self._client = client
        self._secrets, self._known = frozenset(secrets), frozenset(known)
        self._outbox = Outbox(client, run_id, self._refused)
        self._last_step = 0
        self._open = True

    @classmethod
    def start(
        cls,
        uri: str | None,
        experiment: str,
        run_name: str | None,
        artifact_root: Path | None,
        config: Mapping[str, Any],
        seed: int,
        overrides: Iterable[str] = (),
        tags: Mapping[str, str] | None = None,
        parent_run_id: str | None = None,
        log_dir: Path | None = None,
        figures: Mapping[str, float] | None = None,
        key: str | None = None,
    ) -> "RunLogger":
        """Create a run, or take over the one of this ``key``, and write what identifies it.

        Writes the flattened configuration as parameters, all of it as artifact ``config.yaml``,
        and the tags ``git_commit``, ``seed``, ``config_hash``, ``config_sha256`` (of that file),
        ``overrides``, ``log_dir``, ``<library>_version`` and ``tags``.

        Args:
            uri: see :func:`fedpriv.tracking.store.locate`; None is ``mlflow.db`` in the working folder.
            experiment: created when missing.
            run_name: shown in the list of runs; None lets MLflow invent one.
            artifact_root: see :func:`fedpriv.tracking.store.locate`.
            config: nested and resolved.
            seed: the run's seed.
            overrides: the command line's ``name=value``.
            tags: further tags; they win over the ones above.
            parent_run_id: the sweep's run, under which this one is shown.
            log_dir: where the run writes its files.
            figures: what follows from ``config``, as further parameters; in neither ``config.yaml`` nor hash.
            key: fedpriv's name of the run. A process that was killed here may have left a run of this name,
                with less or more of what is written now: the rest is written, and there is no second run.

        Raises:
            UserError: see :func:`fedpriv.tracking.store.open_experiment`.
        """
        plain, secrets = hide_secrets(config)
        location = locate(uri, artifact_root)
        client, experiment_id = open_experiment(location, experiment)
        commit, text = git_commit(), plain_text(plain)
        written = {
            "git_commit": commit,
            "mlflow.source.git.commit": commit,
            "seed": str(seed),
            "config_hash": config_hash(plain),
            CONFIG_DIGEST: hashlib.sha256(text.encode()).hexdigest(),
            "overrides": shlex.join(hide_in_override(text, secrets) for text in overrides),
            **library_versions(),
            **({} if log_dir is None else {"log_dir": str(log_dir)}),
            **({} if parent_run_id is None else {"mlflow.parentRunId": parent_run_id}),
            **({} if key is None else {RUN_KEY: key}),
            **(tags or {}),
        }
        safe = {clean_name(name): _tag_text(text, secrets) for name, text in written.items()}
        run = None if key is None else find_run(client, experiment_id, key)
        if run is None:
            run = client.create_run(experiment_id, tags=safe, run_name=run_name)
        else:
            _reopen(client, run)
        logger = cls(client, run.info.run_id, location.uri, experiment, secrets, run.data.metrics)
        try:
            params = {**flatten(plain), **{clean_name(name): str(n) for name, n in (figures or {}).items()}}
            # MLflow refuses another value than the first
            missing = [Param(name, value) for name, value in params.items() if name not in run.data.params]
            for batch in batches(missing):
                client.log_batch(logger.run_id, params=batch)
            client.log_text(logger.run_id, text, CONFIG_FILE)
        except BaseException:
            client.set_terminated(logger.run_id, "FAILED")
            raise
        return logger

    @classmethod
    def resume(cls, uri: str | None, run_id: str, config: Mapping[str, Any]) -> "RunLogger":
        """Continue a run that was interrupted; rounds written again stand at the same step.

        The tag ``failure`` of what interrupted it goes. Ask :meth:`rounds` what it has already.

        Args:
            uri: as for :meth:`start`.
            run_id: the run.
            config: nested and resolved; only to know its secrets.

        Raises:
            UserError: when the store or the run does not exist.
        """
        _, secrets = hide_secrets(config)
        location = locate(uri)
        client, run = open_run(location, run_id)
        _reopen(client, run)
        experiment = client.get_experiment(run.info.experiment_id).name
        logger = cls(client, run_id, location.uri, experiment, secrets, run.data.metrics)
        logger._last_step = max(logger.rounds(), default=0)
        return logger

    def rounds(self) -> set[int]:
        """Return the rounds that the store has; each was written whole, at once."""
        with suppress(MlflowException):  # was said, and is written again
            self._outbox.flush()
        # every round writes this one, whatever else it measured
        history = self._client.get_metric_history(self.run_id, "clients_failed")
        return {metric.step for metric in history}

    def tag(self, name: str, text: str) -> None:
        """Set a tag of the run."""
        self._outbox.put([], {clean_name(name): _tag_text(text, self._secrets)})

    def log_round(self, result: RoundResult) -> None:
        """Write one round at step ``result.number``; see :func:`round_metrics` for the names.

        Its epsilon is the tag ``epsilon`` too, see :meth:`log_epsilon`.
        """
        self._last_step = max(self._last_step, result.number)
        tags = {} if result.epsilon is None else {"epsilon": at_most(result.epsilon, digits=6)}
        self._log_metrics(round_metrics(result), result.number, tags)

    def flush(self) -> None:
        """Wait until all metrics and tags are in the store.

        Raises:
            MlflowException: when it refuses one; it is kept.
        """
        self._outbox.flush()

    def log_baseline(self, metrics: Metrics) -> None:
        """Write what needs no learning as metrics ``baseline_<name>`` at step 0, unless the run has them."""
        named = finite({f"baseline_{name}": value for name, value in metrics.items()})
        self._log_metrics({name: value for name, value in named.items() if name not in self._known}, 0)

    def log_epsilon(self, spent: Spent, round_failed: bool = False) -> None:
        """Write what the whole run has spent: tags ``epsilon``, ``epsilon_is`` and ``privacy_accountant``.

        An infinite epsilon is no metric, and the metric then keeps the last finite one: the tag, rounded up
        to six digits, is what holds.

        Args:
            spent: of all that the run has released, or may have.
            round_failed: a round was begun after the last that was written: the metric is of its step.
        """
        tags = _EPSILON_WHOLE | {
            "epsilon": at_most(spent.epsilon, digits=6),
            "privacy_accountant": spent.accountant,
        }
        figures = finite({"epsilon": spent.epsilon}) if round_failed else {}
        self._log_metrics(figures, self._last_step + round_failed, tags)

    def log_lifetime(self, epsilon: float, earlier_runs: int) -> None:
        """Write what all private runs on the same data have cost, at the last round's step.

        An infinite epsilon is no metric: the tag ``lifetime_epsilon`` has it in any case.
        """
        self.tag("lifetime_epsilon", at_most(epsilon, digits=6))
        figures = {"lifetime_epsilon": epsilon, "earlier_runs": float(earlier_runs)}
        self._log_metrics(finite(figures), self._last_step)

    def log_audit(self, found: Verdict | None, listener: str) -> None:
        """Write what the run's canaries prove about its epsilon, at the last round's step; None: unheard.

        Metrics ``audit_epsilon_lower_bound`` (any mechanism), ``audit_epsilon_curve_bound`` (its own curve),
        ``audit_epsilon_claimed`` and ``audit_epsilon_reachable`` (the curve's bound, were every guess right);
        tags ``audit_refuted`` (``true``, ``false``, or ``nothing heard`` without any metric) and
        ``audit_listener``.
        """
        self.tag("audit_listener", listener)
        if found is None:
            self.tag("audit_refuted", "nothing heard")
            return
        self.tag("audit_refuted", str(found.refuted).lower())
        figures = {
            "audit_epsilon_lower_bound": found.lower_bound,
            "audit_epsilon_curve_bound": found.curve_bound,
            "audit_epsilon_claimed": found.claimed.epsilon,
            "audit_epsilon_reachable": found.most,
        }
        self._log_metrics(finite(figures), self._last_step)

    def log_figures(self, figures: Metrics) -> None:
        """Write further metrics at the last round's step; those that are not finite are left out."""
        self._log_metrics(finite(figures), self._last_step)

    def log_picture(self, picture: Image.Image | Figure, name: str) -> None:
        """Write a picture as artifact ``pictures/<name>.png`` (figures at 150 dots per inch)."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"{clean_name(name.removesuffix('.png')).replace('/', '_')}.png")
            save_picture(picture, path)
            self._outbox.do(lambda: self._client.log_artifact(self.run_id, str(path), "pictures"))

    def try_model(self, model: nn.Module, example: AnyArray) -> None:
        """Refuse, before it is trained, a model that :meth:`log_model` could not write.

        Raises:
            UserError: see :func:`fedpriv.tracking.model_artifact.try_model`.
        """
        try_model(model, example)

    def log_model(self, model: nn.Module, example: AnyArray, statement: Mapping[str, Any]) -> str:
        """Write the final model; see :func:`fedpriv.tracking.model_artifact.log_model`.

        Returns:
            The logged model's id.
        """
        return log_model(self._client, self.run_id, model, example, statement, self._last_step)

    def finish(self, status: Status = "FINISHED", summary: Metrics | None = None) -> None:
        """Write ``summary`` at the last round's step and end the run; a second call does nothing.

        Raises:
            MlflowException: when the store refuses what is still to be written; the run is FAILED then.
        """
        if not self._open:
            return
        if summary:
            self._log_metrics(finite(summary), self._last_step)
        try:
            self._outbox.flush()
            self._outbox.do(lambda: self._client.set_terminated(self.run_id, status))
        except BaseException as error:
            self.fail(error)
            raise
        self._open = False
        self._outbox.close()

    def fail(self, error: BaseException) -> None:
        """End the run as FAILED (KILLED when interrupted) with the tag ``failure``.

        The tag holds the exception's class and the first line of its text, secrets hidden. A store that does
        not answer within :data:`PATIENCE_S`, all calls together, is only said: what ended the run must
        be heard of, and ``fedpriv resume`` writes what is missing.
        """
        if not self._open:
            return
        self._open = False
        first_line = next(iter(str(error).splitlines()), "")
        text = _tag_text(f"{type(error).__name__}: {first_line}", self._secrets)
        status = "KILLED" if isinstance(error, (KeyboardInterrupt, SystemExit)) else "FAILED"

        def end() -> None:
            try:
                self._client.log_batch(self.run_id, tags=[RunTag("failure", text)])
            finally:
                self._client.set_terminated(self.run_id, status)

        with uninterrupted():  # a second Ctrl-C must not leave the run open
            try:
                self._outbox.do(end, PATIENCE_S)
            except Exception as second:
                reason = hide_in_text(str(second).partition("\n")[0], self._secrets)[:200]
                _log.warning(
                    "MLflow run %s may lack its last rounds and that it is %s (%s); "
                    "`fedpriv resume` writes what is missing",
                    self.run_id,
                    status,
                    reason,
                )
            self._outbox.close(patience=0.2)

    def __enter__(self) -> "RunLogger":
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the run; an exception of the block stays the one that is raised."""
        if error is None:
            self.finish()
        else:
            self.fail(error)

    def _log_metrics(
        self, metrics: Mapping[str, float], step: int, tags: Mapping[str, str] | None = None
    ) -> None:
        self._outbox.put(_metrics(metrics, step), tags)

    def _refused(self, step: int, error: Exception) -> None:
        reason = hide_in_text(str(error).partition("\n")[0], self._secrets)[:200]
        _log.warning("MLflow did not take step %d, kept for the next call: %s", step, reason)


def _metrics(figures: Mapping[str, float], step: int) -> list[Metric]:
    now = int(time.time() * 1000)
    return [Metric(name, value, now, step) for name, value in figures.items()]


def _reopen(client: MlflowClient, run: Run) -> None:
    """Let a run be under way again, without the tag ``failure`` of what ended it."""
    client.update_run(run.info.run_id, status="RUNNING")
    if EPSILON_SO_FAR.keys() <= run.data.tags.keys():
        client.log_batch(run.info.run_id, tags=[RunTag(*item) for item in EPSILON_SO_FAR.items()])
    if "failure" in run.data.tags:
        client.delete_tag(run.info.run_id, "failure")


def _tag_text(text: str, secrets: Iterable[str]) -> str:
    return cut(hide_in_text(str(text), secrets), TAG_LENGTH)
