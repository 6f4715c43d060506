"""Writes the files beside it with pyarrow, and the rows that pyarrow reads in them as JSON lines. Not run by any test."""

import base64
import datetime
import decimal
import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent
UTC = datetime.timezone.utc


def moment(value, digits):
    """RFC 3339 of an integer timestamp, with as many digits as it has."""
    seconds, fraction = divmod(value, 10**digits)
    at = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{fraction:0{digits}}Z"


def view(scalar):
    """A pyarrow scalar as the JSON value that a record has for it."""
    if not scalar.is_valid:
        return None
    kind = scalar.type
    if pa.types.is_struct(kind):
        members = {field.name: view(scalar[field.name]) for field in kind}
        return {name: value for name, value in members.items() if value is not None}
    if pa.types.is_map(kind):
        return {str(pair["key"].as_py()): view(pair["value"]) for pair in scalar.values}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [view(element) for element in scalar.values]
    if pa.types.is_timestamp(kind):
        return moment(scalar.value, {"s": 3, "ms": 3, "us": 6, "ns": 9}[kind.unit])
    if pa.types.is_date(kind):
        return scalar.as_py().isoformat()
    if pa.types.is_time(kind):
        return scalar.as_py().isoformat(timespec="microseconds")
    if pa.types.is_decimal(kind):
        return str(scalar.as_py())
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return base64.b64encode(scalar.as_py()).decode()
    if pa.types.is_float32(kind):
        return float(str(pa.scalar(scalar.as_py(), pa.float32()).cast(pa.string())))
    return scalar.as_py()


def rows(table):
    for row in range(table.num_rows):
        members = {name: view(table[name][row]) for name in table.column_names}
        yield {name: value for name, value in members.items() if value is not None}


def table(count):
    some = lambda make, every: [None if n % every == 2 else make(n) for n in range(count)]
    return pa.table({
        "i8": pa.array(some(lambda n: n % 100 - 50, 5), pa.int8()),
        "u64": pa.array(some(lambda n: 2**64 - 1 - n, 6), pa.uint64()),
        "f32": pa.array(some(lambda n: n / 8, 7), pa.float32()),
        "f64": pa.array(some(lambda n: n / 3, 4), pa.float64()),
        "truth": pa.array(some(lambda n: n % 3 == 0, 9), pa.bool_()),
        "text": pa.array(some(lambda n: f"user-{n % 7}@example.com \u00e9", 5), pa.string()),
        "raw": pa.array(some(lambda n: bytes([n % 256, 255]), 5), pa.binary()),
        "fixed": pa.array(some(lambda n: bytes([n % 256] * 3), 5), pa.binary(3)),
        "ms": pa.array(some(lambda n: 1_700_000_000_000 + n, 5), pa.timestamp("ms", "UTC")),
        "us": pa.array(some(lambda n: -n, 5), pa.timestamp("us")),
        "ns": pa.array(some(lambda n: 1_700_000_000_000_000_001 + n, 5), pa.timestamp("ns", "UTC")),
        "day": pa.array(some(lambda n: datetime.date(1960, 1, 1) + datetime.timedelta(days=n * 31), 5)),
        "clock": pa.array(some(lambda n: n * 1_000_003, 5), pa.time64("us")),
        "price": pa.array(some(lambda n: decimal.Decimal(n - 50) / 100, 5), pa.decimal128(10, 2)),
        "sum": pa.array(some(lambda n: decimal.Decimal(-n) * 10**30, 5), pa.decimal256(60, 0)),
        "list": pa.array(some(lambda n: [None if m == 1 else m for m in range(n % 4)], 5), pa.list_(pa.int64())),
        "structs": pa.array(
            some(lambda n: [{"a": m, "b": [str(m)] * m} if m != 1 else None for m in range(n % 4)], 5),
            pa.list_(pa.struct([("a", pa.int32()), ("b", pa.list_(pa.string()))])),
        ),
        "map": pa.array(some(lambda n: [(f"k{m}", m) for m in range(n % 3)], 5), pa.map_(pa.string(), pa.int64())),
        "deep": pa.array(
            some(lambda n: {"x": {"y": None if n % 3 == 0 else {"z": n}}}, 5),
            pa.struct([("x", pa.struct([("y", pa.struct([("z", pa.int64())]))]))]),
        ),
        "nothing": pa.array([None] * count, pa.string()),
    })


def write(name, data, **options):
    pq.write_table(data, HERE / f"{name}.parquet", **options)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(pq.read_table(HERE / f"{name}.parquet")))
    (HERE / f"{name}.jsonl").write_text(lines, encoding="utf-8")


for codec in ["none", "snappy", "gzip", "zstd", "lz4"]:
    write(codec, table(40), compression=codec, row_group_size=15)
write("pages-v2", table(60), compression="zstd", data_page_version="2.0", data_page_size=64, write_batch_size=4)
write("no-dictionary", table(40), use_dictionary=False, compression="snappy")
times = table(20).select(["us", "ns"])
write("int96", times, use_deprecated_int96_timestamps=True)
write("empty", table(0))
encodings = table(40).select(["i8", "u64", "text", "fixed", "f64"])
write(
    "encodings", encodings, use_dictionary=False, compression="none",
    column_encoding={
        "i8": "DELTA_BINARY_PACKED", "u64": "DELTA_BINARY_PACKED", "text": "DELTA_BYTE_ARRAY",
        "fixed": "DELTA_BYTE_ARRAY", "f64": "BYTE_STREAM_SPLIT",
    },
)
write(
    "encodings-lengths", encodings.select(["text"]), use_dictionary=False,
    column_encoding={"text": "DELTA_LENGTH_BYTE_ARRAY"},
)

# As Amazon Security Lake writes management events of CloudTrail: OCSF, class API Activity.
activity = pa.struct([
    ("metadata", pa.struct([("product", pa.struct([("name", pa.string())])), ("version", pa.string())])),
    ("time", pa.int64()),
    ("time_dt", pa.timestamp("us")),
    ("class_name", pa.string()),
    ("api", pa.struct([("operation", pa.string()), ("service", pa.struct([("name", pa.string())]))])),
    ("actor", pa.struct([("user", pa.struct([("type", pa.string()), ("uid", pa.string())]))])),
    ("src_endpoint", pa.struct([("ip", pa.string()), ("domain", pa.string())])),
    ("resources", pa.list_(pa.struct([("uid", pa.string()), ("type", pa.string())]))),
    ("unmapped", pa.map_(pa.string(), pa.string())),
])
events = [
    {
        "metadata": {"product": {"name": "CloudTrail"}, "version": "1.1.0"},
        "time": 1_768_468_500_000 + n,
        "time_dt": datetime.datetime(2026, 1, 15, 9, 15),
        "class_name": "API Activity",
        "api": {"operation": operation, "service": {"name": "iam.amazonaws.com"}},
        "actor": {"user": {"type": "Root", "uid": "111122223333"}},
        "src_endpoint": {"ip": "198.51.100.7"},
        "resources": None if n else [{"uid": "arn:aws:iam::111122223333:user/ana", "type": "AWS::IAM::User"}],
        "unmapped": [("managementEvent", "true")],
    }
    for n, operation in enumerate(["CreateAccessKey", "DeleteTrail", "CreateAccessKey"])
]
lake = pa.table(pa.array(events, activity).flatten(), names=[field.name for field in activity])
write("security-lake", lake, compression="zstd", row_group_size=2)
