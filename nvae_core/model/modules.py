"""The modules of one kind in a model, found once: a step would look through thousands, often."""

from typing import TypeVar, cast
from weakref import WeakKeyDictionary

from torch import nn

Kind = TypeVar("Kind", bound=nn.Module)
_found: WeakKeyDictionary[nn.Module, dict[type[nn.Module], list[nn.Module]]] = WeakKeyDictionary()


def modules_of(model: nn.Module, kind: type[Kind]) -> list[Kind]:
    """Return the modules of a kind, in the order of the model, which is complete by then."""
    by_kind = _found.setdefault(model, {})
    if kind in by_kind:
        return cast(list[Kind], by_kind[kind])
    found = [module for module in model.modules() if isinstance(module, kind)]
    if not isinstance(model, kind):  # it would be kept alive by its own entry
        by_kind[kind] = list(found)
    return found
