"""Calls of an HTTP server by asyncio and aiohttp: python asyncio_calls.py URL ROWS IN_FLIGHT. Prints wall and CPU seconds, without start-up."""

import asyncio
import json
import resource
import sys
import time

import aiohttp


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def main() -> None:
    url, rows, in_flight = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    started, cpu_before = time.monotonic(), cpu()
    places = asyncio.Semaphore(in_flight)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight)) as session:

        async def score(row: int) -> float:
            async with places, session.get(f"{url}{row}") as response:
                return (await response.json())["score"]

        scores = await asyncio.gather(*(score(row) for row in range(rows)))
    wall, used = time.monotonic() - started, cpu() - cpu_before
    assert len(scores) == rows
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"wall_s": wall, "cpu_s": used, "peak_bytes": peak, "version": aiohttp.__version__}))


asyncio.run(main())
