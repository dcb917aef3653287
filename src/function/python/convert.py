"""Values of Arrow as values of Python and back, the way back by declared types: nothing is cast, cut or guessed to fit."""

from __future__ import annotations

import datetime
import decimal
import numbers
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any, Callable, Optional

import pyarrow as pa

FLOAT_MAX = 3.4028235677973366e38


class WrongValue(Exception):
    """A value that is not of its declared type: at which place of its column, in which field, why."""

    def __init__(self, index: int, path: str, why: str) -> None:
        super().__init__(why)
        self.index, self.path, self.why = index, path, why


# Arrow to Python.


def is_plain(kind: Any) -> bool:
    """Whether pyarrow's own conversion says what we want."""
    if pa.types.is_timestamp(kind):
        return kind.tz is None
    return not pa.types.is_nested(kind)


def to_python(array: Any) -> list:
    """The values of a column. Instants are aware and in UTC, structs and maps are dicts."""
    kind = array.type
    if is_plain(kind):
        return array.to_pylist()
    if pa.types.is_timestamp(kind):
        # Not by the name of the zone: a machine need not have a database of zones.
        naive = array.cast(pa.timestamp(kind.unit)).to_pylist()
        utc = datetime.timezone.utc
        return [None if value is None else value.replace(tzinfo=utc) for value in naive]
    if pa.types.is_struct(kind):
        names = [field.name for field in kind]
        columns = [to_python(column) for column in array.flatten()]
        rows = [dict(zip(names, row)) for row in zip(*columns)] if columns else [{} for _ in range(len(array))]
        return nulls_of(array, rows)
    offsets = array.offsets.to_pylist()
    spans = list(zip(offsets, offsets[1:]))
    if pa.types.is_map(kind):
        keys, items = to_python(array.keys), to_python(array.items)
        return nulls_of(array, [dict(zip(keys[a:b], items[a:b])) for a, b in spans])
    values = to_python(array.values)
    return nulls_of(array, [values[a:b] for a, b in spans])


def nulls_of(array: Any, values: list) -> list:
    if array.null_count == 0:
        return values
    return [value if valid else None for value, valid in zip(values, array.is_valid().to_pylist())]


def rows_of(batch: Any) -> list[dict]:
    """The rows of a batch, by the names of its columns."""
    if all(is_plain(field.type) for field in batch.schema):
        return batch.to_pylist()
    names = batch.schema.names
    return [dict(zip(names, row)) for row in zip(*(to_python(column) for column in batch.columns))]


# Python to Arrow.


def name_of(kind: Any) -> str:
    """A type as Spark's SQL names it."""
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP_NTZ" if kind.tz is None else "TIMESTAMP"
    if pa.types.is_duration(kind):
        return "INTERVAL"
    if pa.types.is_struct(kind):
        return "STRUCT"
    if pa.types.is_map(kind):
        return "MAP"
    if pa.types.is_list(kind):
        return "ARRAY"
    names = {
        "bool": "BOOLEAN",
        "int8": "TINYINT",
        "int16": "SMALLINT",
        "int32": "INT",
        "int64": "BIGINT",
        "float": "FLOAT",
        "double": "DOUBLE",
        "date32[day]": "DATE",
        "null": "VOID",
    }
    return names.get(str(kind), str(kind).upper())


def is_aware(value: datetime.datetime) -> bool:
    return value.utcoffset() is not None


@dataclass(frozen=True)
class Classes:
    """Whose values are of a type: `plain` for sure, of the others those of `wide` that are not of `never`."""

    plain: frozenset[type] = frozenset()
    wide: tuple[type, ...] = ()
    never: tuple[type, ...] = ()


def of(*classes: type, wide: tuple[type, ...] = (), never: tuple[type, ...] = ()) -> Classes:
    return Classes(frozenset(classes), classes + wide, never)


CLASSES: list[tuple[Callable[[Any], bool], Classes]] = [
    (pa.types.is_null, of()),
    (pa.types.is_boolean, of(bool)),
    (pa.types.is_integer, of(int, wide=(numbers.Integral,), never=(bool,))),
    (pa.types.is_floating, of(float, int, wide=(numbers.Real,), never=(bool,))),
    (pa.types.is_decimal, of(decimal.Decimal, int, never=(bool,))),
    (pa.types.is_string, of(str)),
    (pa.types.is_binary, of(bytes, wide=(bytearray, memoryview))),
    (pa.types.is_date, of(datetime.date, never=(datetime.datetime,))),
    (pa.types.is_timestamp, of(wide=(datetime.datetime,))),
    (pa.types.is_duration, of(datetime.timedelta)),
    (pa.types.is_list, of(list, tuple)),
    (lambda kind: True, of(dict)),
]


def found(value: Any) -> str:
    if isinstance(value, datetime.datetime):
        return "an aware datetime" if is_aware(value) else "a datetime without a zone"
    return type(value).__name__


Encoder = Callable[[list], Any]


def encoder(kind: Any, path: str = "") -> Encoder:
    """What makes columns of exactly this type, or raises `WrongValue`. Made once: what the type says is not asked again for each."""
    if pa.types.is_struct(kind):
        return struct_encoder(kind, path)
    if pa.types.is_map(kind):
        return map_encoder(kind, path)
    if pa.types.is_list(kind):
        return list_encoder(kind, path)
    return plain_encoder(kind, path)


def class_check(kind: Any, path: str) -> Callable[[list], None]:
    classes = next(classes for holds, classes in CLASSES if holds(kind))
    plain = classes.plain | {type(None)}

    def check(values: list) -> None:
        # A set of classes is made faster than each value is looked at, and nearly always enough.
        if set(map(type, values)) <= plain:
            return
        for index, value in enumerate(values):
            holds = isinstance(value, classes.wide) and not isinstance(value, classes.never)
            if holds and isinstance(value, datetime.datetime):
                holds = is_aware(value) == (kind.tz is not None)
            if value is not None and not holds:
                raise WrongValue(index, path, f"expected {name_of(kind)}, found {found(value)}")

    return check


def plain_encoder(kind: Any, path: str) -> Encoder:
    check, prepare = class_check(kind, path), preparation(kind, path)

    def encode(values: list) -> Any:
        check(values)
        if prepare is not None:
            values = prepare(values)
        try:
            return pa.array(values, kind, from_pandas=False)
        except Exception:
            for index, value in enumerate(values):
                try:
                    pa.array([value], kind, from_pandas=False)
                except Exception as error:
                    raise WrongValue(index, path, f"does not fit into {name_of(kind)}: {error}") from None
            raise

    return encode


def preparation(kind: Any, path: str) -> Optional[Callable[[list], list]]:
    """What pyarrow would not take, or would cut without a word."""
    if pa.types.is_binary(kind):
        return lambda values: [bytes(value) if isinstance(value, memoryview) else value for value in values]
    if pa.types.is_duration(kind) and kind.unit == "s":
        return each(path, lambda value: value.microseconds == 0, "is not of whole seconds")
    if pa.types.is_float32(kind):
        return each(path, lambda value: not FLOAT_MAX <= abs(value) < float("inf"), "does not fit into FLOAT")
    return None


def each(path: str, holds: Callable[[Any], bool], why: str) -> Callable[[list], list]:
    def check(values: list) -> list:
        for index, value in enumerate(values):
            if value is not None and not holds(value):
                raise WrongValue(index, path, why)
        return values

    return check


def struct_encoder(kind: Any, path: str) -> Encoder:
    check, fields = class_check(kind, path), list(kind)
    known = {field.name for field in fields}
    encoders = [(field.name, encoder(field.type, f"{path}.{field.name}" if path else field.name)) for field in fields]

    def encode(values: list) -> Any:
        check(values)
        nulls = [value is None for value in values]
        rows = [{} if value is None else value for value in values] if any(nulls) else values
        # Most have the same keys.
        if not all(map(known.issuperset, set(map(tuple, rows)))):
            unknown = ((index, key) for index, row in enumerate(rows) for key in row if key not in known)
            index, key = next(unknown)
            raise WrongValue(index, path, f"has a field {key!r}, which is not declared")
        columns = [encode([row.get(name) for row in rows]) for name, encode in encoders]
        mask = pa.array(nulls) if rows is not values else None
        return pa.StructArray.from_arrays(columns, fields=fields, mask=mask)

    return encode


@dataclass(frozen=True)
class Spans:
    """Which items of a flat list belong to which value."""

    offsets: Any
    ends: list[int]

    def below(self, encode: Encoder, items: list) -> Any:
        try:
            return encode(items)
        except WrongValue as wrong:
            raise WrongValue(bisect_right(self.ends, wrong.index), wrong.path, wrong.why) from None


def spans_of(values: list) -> Spans:
    ends, offsets, end = [], [], 0
    for value in values:
        offsets.append(None if value is None else end)
        end += 0 if value is None else len(value)
        ends.append(end)
    return Spans(pa.array([*offsets, end], pa.int32()), ends)


def list_encoder(kind: Any, path: str) -> Encoder:
    check, encode_items = class_check(kind, path), encoder(kind.value_type, f"{path}[]")

    def encode(values: list) -> Any:
        check(values)
        spans = spans_of(values)
        items = [item for value in values if value is not None for item in value]
        return pa.ListArray.from_arrays(spans.offsets, spans.below(encode_items, items), type=kind)

    return encode


def map_encoder(kind: Any, path: str) -> Encoder:
    check = class_check(kind, path)
    encode_keys, encode_items = encoder(kind.key_type, path + "{key}"), encoder(kind.item_type, path + "{value}")

    def encode(values: list) -> Any:
        check(values)
        spans = spans_of(values)
        keys = [key for value in values if value is not None for key in value]
        if None in keys:
            raise WrongValue(bisect_right(spans.ends, keys.index(None)), path, "has a key that is None")
        items = [item for value in values if value is not None for item in value.values()]
        columns = spans.below(encode_keys, keys), spans.below(encode_items, items)
        # Not all versions of pyarrow take the type at once.
        return pa.MapArray.from_arrays(spans.offsets, *columns).cast(kind)

    return encode
