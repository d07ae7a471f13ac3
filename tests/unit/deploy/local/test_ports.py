import socket

import pytest

from deploy.local import ports
from deploy.local.errors import StackError
from deploy.local.plan import chosen_port


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_with_a_listener_is_not_free(host: str) -> None:
    with socket.create_server((host, 0)) as listener:
        assert not ports.is_free(listener.getsockname()[1])


def test_a_picked_port_is_free_and_below_the_kernels_own() -> None:
    port = ports.pick_free()
    assert ports.LOWEST <= port <= ports.HIGHEST
    assert ports.is_free(port)


def test_ports_to_avoid_are_never_picked() -> None:
    all_ports = frozenset(range(ports.LOWEST, ports.HIGHEST + 1))
    with pytest.raises(OSError, match="no free port"):
        ports.pick_free(avoid=all_ports)


def test_a_chosen_port_comes_from_its_variable() -> None:
    assert chosen_port({}, "GATEWAY_PORT", 8000) == 8000
    assert chosen_port({"GATEWAY_PORT": "8010"}, "GATEWAY_PORT", 8000) == 8010


@pytest.mark.parametrize("text", ["0", "65536", "-1", "http", "80.5"])
def test_a_wrong_port_names_its_variable(text: str) -> None:
    with pytest.raises(StackError, match=f"GATEWAY_PORT .*{text}"):
        chosen_port({"GATEWAY_PORT": text}, "GATEWAY_PORT", 8000)
