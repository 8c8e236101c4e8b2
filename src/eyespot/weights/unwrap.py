"""Names of tensors without what wrappers put before them: DataParallel, torch.compile, Lightning, averaged models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from eyespot.weights.arrays import Array

_Value = TypeVar("_Value")

# What stands between any two parts of a name, wherever a module was compiled, sharded or checkpointed.
_BETWEEN = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
_WRAPPERS = ("module", "model", "net", "network", "timm_model")
_MIN_TENSORS = 5  # of a network; a loss has a weight or two


def unwrap(named: Mapping[str, _Value], *, scalars: frozenset[str]) -> tuple[dict[str, _Value], str]:
    """The values by their names within the network, and the prefix that was taken off every name.

    scalars: names of values without axes; those outside the prefix are counters of a wrapper (``n_averaged``), and go.
    """
    clean = {_without_between(name): name for name in named}
    if len(clean) != len(named):
        return dict(named), ""
    prefix = common_prefix([ours for ours, theirs in clean.items() if theirs not in scalars] or list(clean))
    inside = {ours: theirs for ours, theirs in clean.items() if ours.startswith(prefix)}
    between = next((part for part in _BETWEEN if part in next(iter(named), "")), "")
    return {ours[len(prefix) :]: named[theirs] for ours, theirs in inside.items()}, prefix or between


def common_prefix(names: list[str]) -> str:
    """The parts that all names begin with, with their dots; a layer's and a tensor's name stay, but for wrappers."""
    split = [name.split(".") for name in names]
    depth = 0
    while split:
        part, own = split[0][depth], 1 if split[0][depth] in _WRAPPERS else 2
        if not all(len(parts) > depth + own and parts[depth] == part for parts in split):
            break
        depth += 1
    return "".join(f"{part}." for part in split[0][:depth]) if split else ""


def modules(tensors: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """The tensors of each top-level module that is large enough for a network, by the prefix of its names."""
    groups: dict[str, dict[str, Array]] = {}
    for name, tensor in tensors.items():
        groups.setdefault(name.split(".", 1)[0] + ".", {})[name] = tensor
    out: dict[str, dict[str, Array]] = {}
    for group in groups.values():
        if len(group) >= _MIN_TENSORS and len(group) < len(tensors):
            prefix = common_prefix([name for name, tensor in group.items() if tensor.ndim] or list(group))
            out[prefix] = {name[len(prefix) :]: tensor for name, tensor in group.items() if name.startswith(prefix)}
    return out


def _without_between(name: str) -> str:
    for part in _BETWEEN:
        name = name.replace(part, "")
    return name
