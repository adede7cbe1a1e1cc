"""What an un-pickled value is made of in the place of the classes and functions it names."""

from collections.abc import Callable
from dataclasses import dataclass, field


class OrderedDictStandIn(dict[object, object]):
    """Stands for `collections.OrderedDict`; its attributes, such as `_metadata`, are dropped."""

    def __init__(self) -> None:  # with arguments a dict would hash keys that nobody checked
        super().__init__()


@dataclass(slots=True)
class NamespaceStandIn:
    """Stands for `argparse.Namespace`; it refers to its attributes, as a copy each could add up."""

    attributes: dict[object, object] = field(default_factory=dict, init=False)


@dataclass(frozen=True)
class GlobalStandIn:
    """Stands for an allowed class or function; a wrapper, so that no value is callable itself."""

    build: Callable[..., object]


def unwrap_parameter(tensor: object, _requires_grad: object, _backward_hooks: object) -> object:
    """Stands for `torch._utils._rebuild_parameter`."""
    return tensor
