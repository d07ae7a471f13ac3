"""The tests' own servers."""

import socket

import pytest

from tests.servers import HOST, free_port, reserved


def test_a_reserved_port_is_for_its_server_alone() -> None:
    port = free_port()
    with reserved(port):
        for _ in range(2):
            with socket.create_server((HOST, port)) as server:
                assert server.getsockname()[1] == port
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind((HOST, port))
    with socket.socket() as other:
        other.bind((HOST, port))
