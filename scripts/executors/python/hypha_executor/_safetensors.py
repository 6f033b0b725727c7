"""Safetensors files: 8 bytes of header length (little-endian), a JSON header, then the tensors without a gap."""

import json
import math
import os
import struct
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple, Union

import numpy as np
import numpy.typing as npt

from ._bridge import ExecutorError

Array = npt.NDArray[Any]
Path = Union[str, "os.PathLike[str]"]
HEADER_MAX_BYTES = 1_048_576  # the longest that this network reads: about 10,000 tensors
_STORED = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "U64": "<u8", "I32": "<i4", "U32": "<u4"}
_STORED.update({"I16": "<i2", "U16": "<u2", "I8": "|i1", "U8": "|u1"})
_TYPES = {**{np.dtype(stored): name for name, stored in _STORED.items()}, np.dtype(np.bool_): "BOOL"}
_STORED.update({"BF16": "<u2", "BOOL": "|u1"})


class MalformedSafetensors(ExecutorError):
    """A file is not safetensors, or its header does not match it."""


class TensorFile(NamedTuple):
    """A file's header and its tensors in the order of their data: views of the file, BF16 widened to float32."""

    header: bytes
    arrays: Mapping[str, Array]


def load(path: Path) -> TensorFile:
    """Reads a file; raises :class:`MalformedSafetensors` unless the header covers its data exactly, in order."""
    try:
        if os.path.getsize(path) < 8:
            raise ValueError("shorter than 8 bytes")
        data = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
        at = 8 + int(struct.unpack("<Q", data[:8].tobytes())[0])
        if at > min(data.size, 8 + HEADER_MAX_BYTES):
            raise ValueError(f"header of {at - 8} bytes in a file of {data.size}")
        header, arrays = data[:at].tobytes(), {}
        for begin, end, name, dtype, shape in _entries(header[8:]):
            if len(header) + begin != at:
                raise ValueError(f"tensor {name[:64]!r} leaves a gap or overlaps another")
            at = len(header) + end
            if at > data.size:
                break
            arrays[name] = _widened(data[len(header) + begin : at], dtype).reshape(shape)
        if at != data.size:
            raise ValueError(f"tensors end at byte {at}, the file at {data.size}")
    except (ValueError, OverflowError, RecursionError) as error:
        raise MalformedSafetensors(f"Cannot read {path}: {error}") from None
    return TensorFile(header, arrays)


def _entries(header: bytes) -> List[Tuple[int, int, str, str, List[int]]]:
    parsed: Any = json.loads(header.decode("utf-8"), object_pairs_hook=_unique)
    if not isinstance(parsed, dict):
        raise ValueError("header is not a JSON object")
    entries: List[Tuple[int, int, str, str, List[int]]] = []
    for name, entry in parsed.items():
        if name != "__metadata__":
            bad = f"tensor {name[:64]!r}:"
            if not isinstance(entry, dict) or not _are_sizes(entry.get("shape")):
                raise ValueError(f"{bad} shape is not a list of sizes")
            if str(entry.get("dtype")) not in _STORED:
                raise ValueError(f"{bad} element type {str(entry.get('dtype'))[:64]!r} is not read")
            shape, dtype = entry["shape"], str(entry["dtype"])
            offsets: Any = entry.get("data_offsets")
            if not _are_sizes(offsets) or len(offsets) != 2:
                raise ValueError(f"{bad} offsets are not two sizes")
            if offsets[1] - offsets[0] != math.prod(shape) * np.dtype(_STORED[dtype]).itemsize:
                raise ValueError(f"{bad} shape and element type do not take {offsets[1] - offsets[0]} bytes")
            entries.append((offsets[0], offsets[1], name, dtype, shape))
    return sorted(entries, key=lambda entry: entry[:2])


def _unique(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    if len(dict(pairs)) != len(pairs):  # another reader may keep the first of two and read other tensors
        raise ValueError("a name appears twice in the header")
    return dict(pairs)


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(each) is int and 0 <= each < 2**53 for each in value)


def _widened(data: Array, dtype: str) -> Array:
    stored: Array = data.view(_STORED[dtype])
    if dtype == "BF16":
        return (stored.astype("<u4") << 16).view("<f4")
    return stored != 0 if dtype == "BOOL" else stored


def save(path: Path, arrays: Mapping[str, Array], types: Mapping[str, str] = {}) -> None:
    """Writes a file, mode 0600, whole or not at all. `types` gives tensors another type than their array's, as BF16."""
    entries: Dict[str, Any] = {}
    at = 0
    for name, array in arrays.items():
        dtype = types.get(name) or _TYPES.get(array.dtype.newbyteorder("<"), str(array.dtype))
        if dtype not in _STORED:
            raise MalformedSafetensors(f"Cannot write {path}: tensor {name!r}: no element type {dtype}")
        end = at + array.size * np.dtype(_STORED[dtype]).itemsize
        entries[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    header = text + b" " * (-len(text) % 8)
    if len(header) > HEADER_MAX_BYTES:
        raise MalformedSafetensors(f"Cannot write {path}: {len(arrays)} tensors take a header of {len(header)} bytes")
    aside = f"{os.fspath(path)}.part"
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(struct.pack("<Q", len(header)) + header)
        for name, array in arrays.items():
            out.write(_narrowed(array, entries[name]["dtype"]).tobytes())
    os.replace(aside, path)


def _narrowed(array: Array, dtype: str) -> Array:
    if dtype != "BF16":
        return array.astype(np.bool_ if dtype == "BOOL" else _STORED[dtype], copy=False)
    bits = array.astype("<f4").view("<u4")
    nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16  # of two the even one
    return np.where(np.isnan(array), 0x7FC0, nearest).astype("<u2")
