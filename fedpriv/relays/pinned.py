"""Registered models by the version that a plan was made with: an alias that moves does not change a plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedpriv.errors import UserError
from fedpriv.model_names import names_registered
from fedpriv.relays.plan import MODEL_SERVER, Layout
from fedpriv.relays.settings import ModelServerSettings

if TYPE_CHECKING:  # torch, which a plan without registered models does without
    from fedpriv.serving.models import ServedModel


@dataclass(frozen=True)
class Pinned:
    """Where the models of a plan are.

    Attributes:
        sources: each as for :func:`fedpriv.serving.loading.load_model`; registered models by their version.
        digests: what :attr:`fedpriv.serving.models.ServedModel.digest` of a registered model was, by source.
        lines: for people: what each name stands for.
    """

    sources: tuple[str, ...]
    digests: Mapping[str, str]
    lines: tuple[str, ...]


def pin(sources: Sequence[str], tracking_uri: str | None, folder: Path) -> Pinned:
    """Look up once which versions the names of registered models stand for.

    Sources that are no such name (folders, files, run ids) are left as they are, and have no digest.

    Args:
        sources: each as for :func:`fedpriv.serving.loading.load_model`.
        tracking_uri: the MLflow store; None is the default one.
        folder: of the constellation, whose earlier settings may have a digest of the same version.

    Raises:
        UserError: when a registered model is not there, cannot be served, or is another than its version was.
    """
    found, digests, lines = [], {}, []
    before = _digests_in(folder)
    for source in sources:
        if not names_registered(source) or Path(source).exists():
            found.append(source)
            continue
        from fedpriv.serving.loading import load_model

        model = load_model(source, tracking_uri)
        require_pinned([model], before)
        pinned = model.origin.source
        found.append(pinned)
        digests[pinned] = model.digest
        named = "" if source == pinned else f" ({source})"
        lines.append(f"{model.kind}: {pinned}{named}, digest {model.digest[:16]}")
    return Pinned(tuple(found), digests, tuple(lines))


def require_pinned(models: Sequence["ServedModel"], digests: Mapping[str, str]) -> None:
    """Refuse a registered model that is another than the plan was made with.

    Args:
        models: as they were loaded.
        digests: see :class:`Pinned`; a model whose source is not there is not looked at.

    Raises:
        UserError: naming the first.
    """
    for model in models:
        source = model.origin.source
        expected = digests.get(source, model.digest)
        if model.digest != expected:
            raise UserError(
                f"{source}: its digest is {model.digest[:16]}, the settings were made with {expected[:16]}; "
                "put that model back, or run `fedpriv relays up` with another --folder to take this one"
            )


def _digests_in(folder: Path) -> Mapping[str, str]:
    path = Layout(folder, {}).settings(MODEL_SERVER)
    try:
        return ModelServerSettings.read(path).digests if path.exists() else {}
    except UserError:  # of an earlier version, or damaged: it is written anew
        return {}
