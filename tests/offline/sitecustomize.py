"""Put this folder on PYTHONPATH, and no Python program can reach another machine."""

import socket

_connect = socket.socket.connect
_LOOPBACK = ("127.", "::1", "localhost")


def _refuse_others(self, address):
    if isinstance(address, tuple) and not str(address[0]).startswith(_LOOPBACK):
        raise OSError(f"the network is blocked: {address}")
    return _connect(self, address)


socket.socket.connect = _refuse_others
