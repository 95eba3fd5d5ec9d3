"""A model put together again from its settings and its weights, neither of which anybody vouches for."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from fedpriv.config.instantiate import instantiate
from fedpriv.errors import UserError

_LARGEST_SIDE = 1024


def rebuilt_model(
    source: str,
    settings: Mapping[str, Any],
    in_shape: tuple[int, ...],
    outputs: int | None,
    weights: Mapping[str, Tensor],
) -> nn.Module:
    """Put weights into the model that settings name.

    Guarantee:
        - The settings can name fedpriv's own models only; nothing else is called.
        - The model is made without memory first. Nothing is allocated for it before names, shapes and dtypes
          of the weights are found to be its own, so that it is no larger than they are.

    Args:
        source: where settings and weights are from, for messages.
        settings: ``_target_`` and arguments, as in ``configs/model``.
        in_shape: (C, H, W) of the images that it takes.
        outputs: numbers per image; None leaves it to the settings, see
            :meth:`fedpriv.tasks.base.Task.outputs`.
        weights: parameters and buffers by name.

    Returns:
        The model, in evaluation mode.

    Raises:
        UserError: when the settings name no model, or one whose weights are others.
    """
    if len(in_shape) != 3 or not all(0 < side <= _LARGEST_SIDE for side in in_shape):
        raise UserError(f"{source}: its model takes images of {in_shape}; choose another run")
    given: dict[str, Any] = {"in_shape": in_shape}
    if outputs is not None:
        given["outputs"] = outputs
    try:
        with torch.device("meta"):
            shapes = _made(settings, given).state_dict()
        _require_same(source, shapes, weights)
        with torch.random.fork_rng(devices=[]):
            model = _made(settings, given)
        model.load_state_dict(dict(weights))
    except UserError:
        raise
    except Exception as error:  # sizes that no computer has, arguments that no model has
        reason = str(error).partition("\n")[0][:200]
        raise UserError(
            f"{source}: its model cannot be made from its settings ({reason}); choose a run of this fedpriv"
        ) from error
    return model.eval()


def _made(settings: Mapping[str, Any], given: Mapping[str, Any]) -> nn.Module:
    return cast(nn.Module, instantiate("model", settings, kind=nn.Module, **given))


def _require_same(source: str, model: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    for name in sorted({*model, *weights}):
        expected, found = _kind(model.get(name)), _kind(weights.get(name))
        if expected != found:
            shown = " ".join(name.split())[:80]
            raise UserError(
                f"{source}: weight {shown} is {found or 'missing'}, the model of its settings has "
                f"{expected or 'none'}; choose a run of this fedpriv"
            )


def _kind(value: Tensor | None) -> str:
    return "" if value is None else f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
