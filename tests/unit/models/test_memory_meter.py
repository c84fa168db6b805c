"""Storages are counted from the operation that makes them until their last reference goes."""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from instructloop.models.meter import MemoryMeter


def test_views_cost_nothing_and_a_storage_lives_as_long_as_its_last_view() -> None:
    with MemoryMeter() as meter:
        first = torch.zeros(1000)
        assert meter.live == 4000
        view = first.view(10, 100)
        second = first + 1
        assert meter.live == 8000
        del first
        assert meter.live == 8000
        del view
        assert meter.live == 4000
        del second
    assert meter.live == 0
    assert meter.peak == 8000
    assert meter.largest.bytes == 4000


def test_what_was_there_before_counts_as_nothing() -> None:
    weight = torch.ones(100, 100)
    with MemoryMeter() as meter:
        weight.view(-1).add_(1)
        assert meter.live == meter.peak == 0


def test_the_backward_pass_is_counted() -> None:
    """A product [100, 100] is saved by relu; then the gradient of it, of the product and of the weight: never more than four of them."""
    weight = torch.ones(100, 100, requires_grad=True)
    with MemoryMeter() as meter:
        loss = (weight @ weight).relu().sum()
        assert meter.live == 40_000 + 4
        loss.backward()
        del loss
        assert meter.live == 40_000
    assert meter.peak <= 4 * 40_000 + 8


def test_tensors_of_a_width_are_counted_apart() -> None:
    with MemoryMeter(width=50) as meter:
        narrow = torch.zeros(10, 20)
        wide = torch.zeros(3, 50)
        assert (meter.peak_wide, meter.peak_narrow, meter.peak) == (600, 800, 1400)
        del narrow, wide


def test_tensors_without_content_are_counted_alike() -> None:
    with FakeTensorMode(), MemoryMeter() as meter:
        huge = torch.zeros(1 << 20, 1 << 20)
        huge = huge * 2
    assert meter.peak == 2 * 4 << 40
