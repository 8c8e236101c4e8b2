"""Reads safetensors in several files by their index, ``model.safetensors.index.json``, as on the Hugging Face hub."""

from __future__ import annotations

import json
from pathlib import Path

from eyespot.errors import UnsafeFile, WeightsError
from eyespot.weights.arrays import Array, shown
from eyespot.weights.safetensors_file import read_safetensors

_MAX_INDEX = 32 << 20
_MAX_SHARDS = 1000


def read_shards(index: Path) -> dict[str, Array]:
    """The tensors that the index names, each out of its shard. WeightsError where index and shards do not agree."""
    if index.stat().st_size > _MAX_INDEX:
        raise WeightsError(f"{index.name} is larger than {_MAX_INDEX} bytes, too large for an index of shards")
    try:
        places = json.loads(index.read_bytes())["weight_map"]
        shards: dict[str, list[str]] = {}
        for name, shard in places.items():
            shards.setdefault(str(shard), []).append(name)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise WeightsError(f"{index.name} is no index of shards: it has no weight_map; fetch it again") from None
    if len(shards) > _MAX_SHARDS:
        raise WeightsError(f"{index.name} names {len(shards)} shards, at most {_MAX_SHARDS} are read")
    tensors: dict[str, Array] = {}
    for shard, names in shards.items():
        if shard != Path(shard).name or shard in ("", ".", ".."):
            raise UnsafeFile(f"{index.name} names the shard {shown(shard)}, which does not lie beside it")
        if not shard.endswith(".safetensors"):
            raise WeightsError(f"{index.name} names the shard {shown(shard)}; eyespot reads shards of safetensors")
        if not (index.parent / shard).is_file():
            raise WeightsError(f"{index.name} names the shard {shown(shard)}, which is not beside it; fetch it too")
        stored = read_safetensors(index.parent / shard)
        if missing := sorted(set(names) - stored.keys()):
            raise WeightsError(f"{shown(shard)} misses {shown(missing[0])}, which {index.name} says is in it")
        tensors |= {name: stored[name] for name in names}
    return {name: tensors[name] for name in places}
