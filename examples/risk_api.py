"""A made-up risk API for examples/enrich.yaml: GET /users/NAME?amount=X answers {"data": {"score": 0.42, "band": "low"}} after 50 ms.

Run it: python3 examples/risk_api.py [PORT]     (8900; 0 takes a free one, which it prints)
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


def band(score: float) -> str:
    return "high" if score >= 0.8 else "medium" if score >= 0.5 else "low"


class Risk(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept

    def do_GET(self) -> None:
        time.sleep(0.05)
        url = urlsplit(self.path)
        amount = float(parse_qs(url.query).get("amount", ["0"])[0])
        score = round(min(amount, 1000) / 1000, 2)
        body = json.dumps({"data": {"score": score, "band": band(score)}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing for each request."""


class Server(ThreadingHTTPServer):
    request_queue_size = 128


server = Server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8900), Risk)
print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
try:
    server.serve_forever()
except KeyboardInterrupt:
    pass
