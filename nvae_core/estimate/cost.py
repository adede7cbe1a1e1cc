"""What one part of the network costs, in numbers that add up over its parts."""

from collections.abc import Iterable
from dataclasses import dataclass

FLOAT_BYTES = 4  # of a float32


@dataclass(frozen=True)
class FeatureMap:
    """A square tensor of one image, (channels, resolution, resolution)."""

    channels: int
    resolution: int

    @property
    def num_values(self) -> int:
        """Number of values in it."""
        return self.channels * self.resolution**2


@dataclass(frozen=True)
class Cost:
    """Cost of one part of the network; what grows with the batch is given for one image."""

    num_parameters: int = 0
    num_statistics: int = 0  # running means and variances of batch norm
    num_singular_elements: int = 0  # of the two singular vectors of each convolution
    num_derived_weights: int = 0  # computed from the parameters and held, whatever the batch
    kept_bytes: int = 0  # what the forward pass keeps for the backward pass
    forward_multiply_adds: int = 0
    backward_multiply_adds: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        """Return the cost of both parts."""
        return Cost(
            self.num_parameters + other.num_parameters,
            self.num_statistics + other.num_statistics,
            self.num_singular_elements + other.num_singular_elements,
            self.num_derived_weights + other.num_derived_weights,
            self.kept_bytes + other.kept_bytes,
            self.forward_multiply_adds + other.forward_multiply_adds,
            self.backward_multiply_adds + other.backward_multiply_adds,
        )

    def __mul__(self, count: int) -> "Cost":
        """Return the cost of so many equal parts."""
        return Cost(
            self.num_parameters * count,
            self.num_statistics * count,
            self.num_singular_elements * count,
            self.num_derived_weights * count,
            self.kept_bytes * count,
            self.forward_multiply_adds * count,
            self.backward_multiply_adds * count,
        )


NOTHING = Cost()


def add_up(costs: Iterable[Cost]) -> Cost:
    """Return the cost of all parts together."""
    return sum(costs, NOTHING)


def keep(num_values: int) -> Cost:
    """Return the cost of keeping values of float32."""
    return Cost(kept_bytes=FLOAT_BYTES * num_values)


def keep_booleans(num_values: int) -> Cost:
    """Return the cost of keeping booleans, of one byte each."""
    return Cost(kept_bytes=num_values)
