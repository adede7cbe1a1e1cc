"""Network namespaces on a bridge: nodes with a network of their own on one machine."""

import shutil
import subprocess

BRIDGE = "nvae-gangs"
BRIDGE_ADDRESS = "10.213.7.254"
NUMBERS = (1, 2)


def is_available() -> bool:
    """Whether this machine lets us make namespaces."""
    if shutil.which("ip") is None:
        return False
    made = subprocess.run(["ip", "netns", "add", _name(0)], check=False, capture_output=True)
    _remove(0)
    return made.returncode == 0


def address(number: int) -> str:
    """Return the address that a namespace has on the bridge."""
    return f"10.213.7.{number}"


def interface(number: int) -> str:
    """Return what the interface with that address is called in the namespace."""
    return f"training{number}"


def within(number: int) -> tuple[str, ...]:
    """Return the command below which a program runs in a namespace."""
    return ("ip", "netns", "exec", _name(number))


def add_address(number: int, address: str) -> None:
    """Give the interface of a namespace one more address."""
    device = ("dev", interface(number))
    _ip("-n", _name(number), "address", "add", f"{address}/{64 if ':' in address else 24}", *device)


def set_link(number: int, state: str) -> None:
    """Cut a namespace off (`down`), or connect it again (`up`)."""
    _ip("link", "set", _outer(number), state)


def create() -> None:
    """Make the bridge, and the namespaces on it."""
    remove()
    _ip("link", "add", BRIDGE, "type", "bridge")
    _ip("address", "add", f"{BRIDGE_ADDRESS}/24", "dev", BRIDGE)
    _ip("link", "set", BRIDGE, "up")
    for number in NUMBERS:
        name = _name(number)
        _ip("netns", "add", name)
        inner = ("peer", "name", interface(number), "netns", name)
        _ip("link", "add", _outer(number), "type", "veth", *inner)
        _ip("link", "set", _outer(number), "master", BRIDGE, "up")
        _ip("-n", name, "address", "add", f"{address(number)}/24", "dev", interface(number))
        for device in ("lo", interface(number)):
            _ip("-n", name, "link", "set", device, "up")


def remove() -> None:
    """Take away all that there is of them."""
    for number in NUMBERS:
        _remove(number)
    subprocess.run(["ip", "link", "del", BRIDGE], check=False, capture_output=True)


def _remove(number: int) -> None:
    for words in (("link", "del", _outer(number)), ("netns", "del", _name(number))):
        subprocess.run(["ip", *words], check=False, capture_output=True)


def _name(number: int) -> str:
    return f"{BRIDGE}-{number}"


def _outer(number: int) -> str:
    return f"{BRIDGE}{number}"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
