"""One benchmark query in DuckDB: python duckdb_job.py JOB FOLDER OUT. Prints wall and CPU seconds of the query, without start-up."""

import json
import resource
import sys
import time

import duckdb

COLUMNS = "{name: 'VARCHAR', surname: 'VARCHAR', amount: 'DOUBLE', delta_t: 'DOUBLE', flag: 'INTEGER', user: 'VARCHAR'}"
QUERIES = {
    "filter": "COPY (SELECT * FROM transactions WHERE flag = 1) TO '{out}' (FORMAT json)",
    "fraud": "SELECT concat(name, surname) AS userID, true AS isFraud, count(*) AS nTransactions FROM transactions WHERE flag = 1 "
    "GROUP BY concat(name, surname) HAVING count(*) > 1",
    "keys_1m": "CREATE TEMP TABLE result AS SELECT user, count(*) AS n, sum(amount) AS total, max(amount) AS largest "
    "FROM transactions GROUP BY user",
}


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    job, folder, out = sys.argv[1:]
    columns = COLUMNS if job == "keys_1m" else COLUMNS.replace(", user: 'VARCHAR'", "")
    connection = duckdb.connect()
    connection.execute(
        f"CREATE VIEW transactions AS SELECT * FROM read_json('{folder}/*.json', format = 'newline_delimited', columns = {columns})"
    )
    started, cpu_before = time.monotonic(), cpu()
    connection.execute(QUERIES[job].format(out=out)).fetchall()
    wall, used = time.monotonic() - started, cpu() - cpu_before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"wall_s": wall, "cpu_s": used, "peak_bytes": peak, "version": duckdb.__version__}))


main()
