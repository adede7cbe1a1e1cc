"""What the ranks of one machine sum through shared memory."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from needs_kernels import needs_kernels
from nvae_core.node_exchange import NodeExchange, RankSilent, can_exchange, open_exchange

from nvae_core import node_exchange

pytestmark = needs_kernels
NUM_RANKS = 3


def run_ranks(work: Callable[[NodeExchange], object], num_ranks: int = NUM_RANKS) -> list[object]:
    """Run each rank in a thread of its own; kernels give up the interpreter's lock."""
    barrier, names, results = threading.Barrier(num_ranks), [""], [None] * num_ranks

    def be_rank(rank: int) -> None:
        def share_name(name: str) -> str:
            if name:
                names[0] = name
            barrier.wait()
            return names[0]

        exchange = open_exchange(
            rank,
            num_ranks,
            share_name=share_name,
            wait_for_all=barrier.wait,
            patience_seconds=0.2,
        )
        assert exchange is not None
        results[rank] = work(exchange)

    threads = [threading.Thread(target=be_rank, args=(rank,)) for rank in range(num_ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def values_of(rank: int, length: int, number: int = 0) -> torch.Tensor:
    return torch.randn(length, generator=torch.Generator().manual_seed(1000 * number + rank))


@pytest.mark.parametrize("length", [0, 1, 2**16, 2**16 + 1, 3 * 2**16 + 7])
def test_sums_have_the_same_bits_on_all_ranks(length: int) -> None:
    totals = run_ranks(lambda exchange: exchange.add(values_of(exchange.rank, length)))
    expected = values_of(0, length)
    for rank in range(1, NUM_RANKS):
        expected = expected + values_of(rank, length)
    assert all(torch.equal(total, expected) for total in totals)


def test_gathered_values_are_in_the_order_of_the_ranks() -> None:
    length = 2**16 + 5  # more than one round
    gathered = run_ranks(lambda exchange: exchange.gather(values_of(exchange.rank, length)))
    expected = torch.stack([values_of(rank, length) for rank in range(NUM_RANKS)])
    assert all(torch.equal(values, expected) for values in gathered)


def test_many_rounds_do_not_mix() -> None:
    def add_often(exchange: NodeExchange) -> list[torch.Tensor]:
        return [exchange.add(values_of(exchange.rank, 50, number)) for number in range(300)]

    by_rank = run_ranks(add_often)
    for number in range(300):
        expected = values_of(0, 50, number) + values_of(1, 50, number) + values_of(2, 50, number)
        assert all(torch.equal(totals[number], expected) for totals in by_rank)


def test_a_rank_that_does_not_come_is_named() -> None:
    def all_but_one(exchange: NodeExchange) -> str:
        if exchange.rank == 1:
            return ""
        with pytest.raises(RankSilent) as raised:
            exchange.add(torch.ones(3))
        return str(raised.value)

    assert run_ranks(all_but_one) == [
        "rank 1 was silent for 0.2 seconds",
        "",
        "rank 1 was silent for 0.2 seconds",
    ]


def test_no_file_is_left() -> None:
    before = set(node_exchange.FOLDER.glob("nvae-*"))
    run_ranks(lambda exchange: exchange.add(torch.ones(3)))
    assert set(node_exchange.FOLDER.glob("nvae-*")) <= before


def test_without_memory_to_share_there_is_no_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_exchange, "FOLDER", tmp_path / "missing")
    exchange = open_exchange(
        0, 2, share_name=lambda name: name, wait_for_all=lambda: None, patience_seconds=1.0
    )
    assert exchange is None


@pytest.mark.parametrize(
    "values", [torch.ones(3).double(), torch.ones(4, 4).T[:, :2], torch.ones(3).bfloat16()]
)
def test_other_values_go_another_way(values: torch.Tensor) -> None:
    assert not can_exchange(values)
