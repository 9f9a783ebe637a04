"""Run in a network namespace of its own (test_connections.py): clients whose packets stop arriving.

usage: half_open.py BUILD UNIX_SOCKET HALF_OPEN_MS
Prints, as JSON, the seconds until the server let go of each kind of request, and its counters."""
import http.client
import json
import socket
import subprocess
import sys
import time

from http_client import HOST, Server

build, unix_path, half_open = sys.argv[1:]


def counters():
    """Over the Unix socket: the network is gone."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(unix_path)
        sock.sendall(b"GET /counters HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        response = http.client.HTTPResponse(sock)
        response.begin()
        return json.loads(response.read())


subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
with Server(build, unix_path=unix_path, half_open=half_open, ping_interval=600_000) as server:
    # Silent: nothing is sent to it, so only probes can tell. Streaming: what is sent stays
    # unacknowledged. Half a head: no request yet.
    kinds = {"silent": b"GET /v1/slow?ms=600000 HTTP/1.1\r\n" + HOST + b"\r\n",
             "stream": b"GET /v1/stream?n=100000&ms=20 HTTP/1.1\r\n" + HOST + b"\r\n",
             "head": b"GET /v1/echo HTTP/1.1\r\nHo"}
    socks = []
    for data in kinds.values():
        socks.append(server.connect())
        socks[-1].sendall(data)
    while counters()["requests_now"] < 3:  # the two and this one
        time.sleep(0.01)
    time.sleep(0.2)
    socks[1].settimeout(1)
    socks[1].recv(65536)
    subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
    start = time.monotonic()
    times = []
    while len(times) < 2 and time.monotonic() - start < 100:
        gone = counters()["gone_callbacks"]
        times += [time.monotonic() - start] * (gone - len(times))
        time.sleep(0.02)
    while counters()["connections_now"] > 1 and time.monotonic() - start < 100:
        time.sleep(0.02)
    last = counters()
    print(json.dumps({"seconds": times, "all": time.monotonic() - start,
                      "requests_now": last["requests_now"],
                      "connections_now": last["connections_now"]}))
