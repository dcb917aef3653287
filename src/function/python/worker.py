"""The worker of a Python function: answers chunks of rows that the engine sends, each as a task of one event loop.

The engine starts this program with one end of a socket. Both sides send frames: their length (4 bytes), a letter for what it is,
the number of a call (8 bytes), and what belongs to it; numbers are little-endian. Rows travel as Arrow IPC streams.

    S setup, C call, X cancel        from the engine
    R ready, F failed to start       from here
    A answer, E error, D cancelled   from here, exactly one for each call
    L log                            from here
"""

from __future__ import annotations

import asyncio
import base64
import contextvars
import datetime
import importlib.util
import inspect
import json
import logging
import numbers
import os
import signal
import socket
import struct
import sys
import threading
import traceback
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Callable, NoReturn, Optional

HEADER = struct.Struct("<IcQ")
TEXT_MAX = 16_384
# What comes between two looks at other calls, and to being cancelled.
BLOCK_ROWS = 1024
TRANSIENT = (ConnectionError, TimeoutError, asyncio.TimeoutError, socket.timeout)

# Imported by `Worker.load`, which tells the engine what is missing.
pa: Any = None
convert: Any = None


class Parameters(dict):
    """What the declaration sets; `parameters.threshold` is `parameters["threshold"]`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no parameter {name!r}") from None


@dataclass(frozen=True)
class Context:
    """What a function is told of the chunk that it is called with."""

    function: str
    query: str
    batch_id: int
    partition_index: int
    chunk_index: int
    input_range: range
    partition_start_time: datetime.datetime
    values: list
    parameters: Parameters
    log_level: str
    pid: int
    logger: logging.Logger


class BadAnswer(Exception):
    """An answer that is not what was declared."""


class CannotStart(Exception):
    """The function cannot be called at all."""


class Connection:
    """Frames to and from the engine. Any thread may send."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self.sending = threading.Lock()

    def send(self, kind: bytes, call: int = 0, payload: Any = b"") -> None:
        with self.sending:
            self.stream.sendall(HEADER.pack(len(payload) + 9, kind, call))
            self.stream.sendall(payload)

    def receive(self) -> tuple[bytes, int, memoryview]:
        length, kind, call = HEADER.unpack(self.take(HEADER.size))
        return kind, call, self.take(length - 9)

    def take(self, length: int) -> memoryview:
        taken = memoryview(bytearray(length))
        at = 0
        while at < length:
            got = self.stream.recv_into(taken[at:])
            if got == 0:
                raise EOFError
            at += got
        return taken


current: contextvars.ContextVar[Optional[Context]] = contextvars.ContextVar("current", default=None)


class EngineLog(logging.Handler):
    """What is logged here goes to the engine's log, with the call during which it was."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            line = {"level": record.levelno, "logger": record.name, "message": text[:TEXT_MAX]}
            context = current.get()
            if context is not None:
                line.update(query=context.query, batch=context.batch_id, chunk=context.chunk_index)
            self.connection.send(b"L", payload=json.dumps(line).encode())
        except Exception:
            self.handleError(record)


def counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


class Form:
    """What a function answers: a single column, or in the table form the index of the row that each is for and its columns."""

    def __init__(self, schema: Any, setup: dict) -> None:
        self.schema = schema
        self.bytes_max = setup["answer_bytes_max"]
        self.frame_bytes_max = setup["frame_bytes_max"]

    def written(self, batches: list) -> memoryview:
        self.check_size(sum(batch.nbytes for batch in batches), self.bytes_max)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.schema) as stream:
            for batch in batches:
                stream.write_batch(batch)
        frame = memoryview(sink.getvalue())
        self.check_size(len(frame), self.frame_bytes_max)
        return frame

    def check_size(self, size: int, size_max: int) -> None:
        if size > size_max:
            raise BadAnswer(f"its answer of {size} bytes is larger than max_answer, {self.bytes_max} bytes")


class Values(Form):
    """A value for each row."""

    def __init__(self, schema: Any, setup: dict) -> None:
        super().__init__(schema, setup)
        self.encode = convert.encoder(schema.field(0).type)

    async def answer(self, items: Any, context: Context) -> memoryview:
        wanted, answered = len(context.values), 0
        values: list = []
        async for value in items:
            answered += 1
            # Counted to the end, so that the message is right, but not kept.
            if answered <= wanted:
                values.append(value)
            if answered % BLOCK_ROWS == 0:
                await asyncio.sleep(0)
        if answered != wanted:
            raise BadAnswer(f"it answered {counted(answered, 'value')} for {counted(wanted, 'row')}")
        try:
            column = self.encode(values)
        except convert.WrongValue as wrong:
            raise BadAnswer(told(wrong, row_name(context, wrong.index))) from None
        return self.written([pa.record_batch([column], schema=self.schema)])


class Rows(Form):
    """Any number of rows: each `(index, row)` for one of the chunk's rows, or each `row` for the chunk as a whole."""

    def __init__(self, schema: Any, setup: dict) -> None:
        super().__init__(schema, setup)
        self.encode = convert.encoder(pa.struct(list(schema)[1:]))

    async def answer(self, items: Any, context: Context) -> memoryview:
        of: list[int | None] = []
        rows: list[dict] = []
        batches: list = []
        size = 0
        async for item in items:
            index, row = self.one(item, context)
            of.append(index)
            rows.append(row)
            if len(rows) == BLOCK_ROWS:
                batches.append(self.block(of, rows, context))
                of, rows = [], []
                size += batches[-1].nbytes
                # Not only in the end: a generator may have none.
                self.check_size(size, self.bytes_max)
                await asyncio.sleep(0)
        batches.append(self.block(of, rows, context))
        return self.written(self.in_order(batches))

    def one(self, item: Any, context: Context) -> tuple[int | None, dict]:
        if isinstance(item, dict):
            return None, item
        count = len(context.values)
        if not isinstance(item, tuple) or len(item) != 2:
            raise BadAnswer(f"expected a dict, or (index of the row that it is for, dict), found {type(item).__name__}")
        index, row = item
        if not isinstance(index, numbers.Integral) or isinstance(index, bool):
            raise BadAnswer(f"expected the index of the row that it is for, found {type(index).__name__}")
        index = int(index)
        if not 0 <= index < count:
            raise BadAnswer(f"it answered for index {index} of {counted(count, 'row')}, which are counted from 0")
        if not isinstance(row, dict):
            raise BadAnswer(f"expected a dict for {row_name(context, index)}, found {type(row).__name__}")
        return index, row

    def block(self, of: list[int | None], rows: list[dict], context: Context) -> Any:
        try:
            columns = self.encode(rows).flatten()
        except convert.WrongValue as wrong:
            index = of[wrong.index]
            raise BadAnswer(told(wrong, "a row" if index is None else "a row for " + row_name(context, index))) from None
        return pa.record_batch([pa.array(of, pa.uint32()), *columns], schema=self.schema)

    def in_order(self, batches: list) -> list:
        table = pa.Table.from_batches(batches, self.schema)
        of = table.column(0).to_pylist()
        # The engine takes a chunk whose rows are all for the whole of it, and refuses one where only some are.
        if None in of or all(a <= b for a, b in zip(of, of[1:])):
            return batches
        order = sorted(range(len(of)), key=of.__getitem__)
        return table.take(order).to_batches()


def told(wrong: convert.WrongValue, row: str) -> str:
    field = f"field {wrong.path}: " if wrong.path else ""
    return f"{row}: {field}{wrong.why}"


def row_name(context: Context, index: int) -> str:
    """Answers that are cached leave gaps in the range: what is known then is the place in the chunk."""
    if len(context.input_range) == len(context.values):
        return f"row {context.input_range[index]}"
    return f"row {index + 1} of the chunk"


class Worker:
    """The function, and the calls of it that are under way."""

    def __init__(self, connection: Connection, setup: dict) -> None:
        self.connection, self.setup = connection, setup
        self.tasks: dict[int, asyncio.Task] = {}
        self.cancelled: set[int] = set()
        self.logger = logging.getLogger(setup["name"])
        self.parameters: Parameters = setup["parameters"]
        self.folder = os.path.dirname(setup["file"])

    def load(self) -> None:
        """Imports what is needed. What can be wrong is found here."""
        global pa, convert
        if sys.version_info < (3, 9):
            raise CannotStart(f"it needs Python 3.9 or later, and {sys.executable} is {sys.version.split()[0]}")
        try:
            import pyarrow
            import pyarrow.ipc
        except ImportError as error:
            why = f"{sys.executable} has no pyarrow ({error}): {sys.executable} -m pip install pyarrow"
            raise CannotStart(why) from None
        pa, convert = pyarrow, self.conversions()
        schema = pa.ipc.open_stream(base64.b64decode(self.setup["returns"])).schema
        self.form = Rows(schema, self.setup) if self.setup["rows"] else Values(schema, self.setup)
        self.function = self.find()

    def conversions(self) -> ModuleType:
        module = ModuleType("tidemill_convert")
        sys.modules[module.__name__] = module
        exec(compile(self.setup["convert"], "<tidemill convert>", "exec"), module.__dict__)
        return module

    def find(self) -> Callable:
        path, name = self.setup["file"], self.setup["function"]
        sys.path[0], sys.argv = self.folder, [path]
        module_name = os.path.splitext(os.path.basename(path))[0]
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None:
            raise CannotStart(f"{path} is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(module_name, module)
        try:
            spec.loader.exec_module(module)
        except BaseException as error:
            raise CannotStart(f"could not import {path}\n{last_lines(error)}") from None
        function = getattr(module, name, None)
        if function is None:
            raise CannotStart(f"{path} has no {name}")
        second = "rows" if self.setup["rows"] else "values"
        wanted = f"async def {name}(context, {second}) with yield"
        if not any(map(inspect.isasyncgenfunction, (function, getattr(function, "__call__", None)))):
            raise CannotStart(f"{name} of {path} is no async generator function: expected {wanted}")
        try:
            inspect.signature(function).bind(None, None)
        except TypeError as error:
            found = f"{name}{inspect.signature(function)}"
            raise CannotStart(f"{found} of {path} cannot be called ({error}): expected {wanted}") from None
        return function

    async def serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        threading.Thread(target=self.read, name="tidemill", daemon=True).start()
        self.connection.send(b"R")
        await self.loop.create_future()

    def read(self) -> NoReturn:
        """Runs beside the loop, so that the end of the engine is seen while user code keeps the loop busy."""
        try:
            while True:
                self.loop.call_soon_threadsafe(self.take, *self.connection.receive())
        finally:
            end()

    def take(self, kind: bytes, call: int, payload: memoryview) -> None:
        if kind == b"C":
            task = self.loop.create_task(self.answer(call, payload))
            self.tasks[call] = task
            task.add_done_callback(lambda task: self.done(call, task))
        elif call in self.tasks:
            self.cancelled.add(call)
            self.tasks[call].cancel()

    def done(self, call: int, task: asyncio.Task) -> None:
        del self.tasks[call]
        self.cancelled.discard(call)
        # A task that is cancelled before it has begun runs nothing of its own.
        kind, payload = (b"D", b"") if task.cancelled() else task.result()
        self.connection.send(kind, call, payload)

    async def answer(self, call: int, payload: memoryview) -> tuple[bytes, Any]:
        try:
            context = self.context(payload)
            current.set(context)
            items = self.function(context, context.values)
            try:
                answer = await self.form.answer(items, context)
            finally:
                await items.aclose()
            return b"A", answer
        except BadAnswer as error:
            return failure("bad_answer", str(error))
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and call in self.cancelled:
                raise
            self.logger.debug("a call failed", exc_info=error)
            kind = "unavailable" if isinstance(error, TRANSIENT) else "rejected"
            return failure(kind, summary(error) + self.where(error))

    def context(self, payload: memoryview) -> Context:
        (length,) = struct.unpack_from("<I", payload)
        told = json.loads(bytes(payload[4 : 4 + length]))
        batch = pa.ipc.open_stream(pa.py_buffer(payload[4 + length :])).read_next_batch()
        is_single = batch.num_columns == 1 and not self.setup["rows"]
        values = convert.to_python(batch.column(0)) if is_single else convert.rows_of(batch)
        started = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
        return Context(
            function=self.setup["name"],
            query=told["query"],
            batch_id=told["batch_id"],
            partition_index=told["partition"],
            chunk_index=told["chunk"],
            input_range=range(*told["rows"]),
            partition_start_time=started + datetime.timedelta(microseconds=told["started_us"]),
            values=values,
            parameters=self.parameters,
            log_level=self.setup["log_level"],
            pid=os.getpid(),
            logger=self.logger,
        )

    def where(self, error: BaseException) -> str:
        """The user's line: the innermost one in the file of the function or beside it."""
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if self.folder and frame.filename.startswith(self.folder + os.sep)]
        for frame in reversed(own):
            if "site-packages" not in frame.filename:
                return f" ({os.path.relpath(frame.filename, self.folder)}:{frame.lineno})"
        return ""


def failure(kind: str, message: str) -> tuple[bytes, bytes]:
    return b"E", json.dumps({"kind": kind, "message": message[:TEXT_MAX]}).encode()


def summary(error: BaseException) -> str:
    try:
        text = str(error).strip()
    except Exception as wrong:  # the user's own __str__
        text = f"(its text cannot be made: {type(wrong).__name__})"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def last_lines(error: BaseException) -> str:
    """The end of a traceback, without the frames of this program and of the import system."""
    hidden = ("<tidemill", "<frozen importlib")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(hidden)]
    lines = traceback.format_list(frames[-3:]) + traceback.format_exception_only(type(error), error)
    return "".join(lines).rstrip()[-TEXT_MAX:]


def end() -> NoReturn:
    """Ends this process and whatever the user's code has started, at once."""
    os.killpg(0, signal.SIGKILL)
    raise SystemExit


def main() -> None:
    # User code finds nothing on standard input, and what it starts does not get the socket.
    stream = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # A signal for the whole service is for the engine: it ends its calls first, and then us. Not ignored but handled, so that
    # what user code starts gets the default.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    connection = Connection(stream)
    setup = json.loads(bytes(connection.receive()[2]), object_hook=Parameters)
    logging.basicConfig(level=setup["level"], handlers=[EngineLog(connection)], format="%(message)s")
    worker = Worker(connection, setup)
    try:
        worker.load()
    except CannotStart as error:
        connection.send(b"F", payload=json.dumps({"message": str(error)}).encode())
        return
    asyncio.run(worker.serve())


main()
