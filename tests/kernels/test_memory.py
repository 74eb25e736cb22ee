"""Bits of spikes, and arrays used again."""

import gc

import pytest
import torch

from bitspike.kernels.cpu import buffers
from bitspike.kernels.cpu.packing import pack, unpack
from bitspike.neurons import LIF


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 63, 100_003])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int32])
def test_spikes_come_back_from_their_bits(count: int, dtype: torch.dtype) -> None:
    x = (torch.rand(count, generator=torch.Generator().manual_seed(count)) < 0.3).to(dtype)
    packed = pack(x)
    assert packed is not None
    assert packed.bits.nbytes == (count + 7) // 8
    assert unpack(packed).dtype == dtype
    assert torch.equal(unpack(packed), x)


def test_shape_and_strides_do_not_matter() -> None:
    x = (torch.rand(5, 3, 7) < 0.5).float().transpose(0, 2)
    packed = pack(x)
    assert packed is not None
    assert torch.equal(unpack(packed), x)


@pytest.mark.parametrize("rows", [slice(0, 5), slice(1, 2), slice(3, 5), slice(2, 2)])
def test_some_rows_come_back_in_another_dtype(rows: slice) -> None:
    x = (torch.rand(5, 3, 7, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    packed = pack(x)
    assert packed is not None
    assert unpack(packed, rows, torch.int8).dtype == torch.int8
    assert torch.equal(unpack(packed, rows, torch.int8).float(), x[rows])


@pytest.mark.parametrize("wrong", [0.5, -1.0, 2.0, float("nan"), float("inf")])
@pytest.mark.parametrize("place", [0, 8, 16])
def test_anything_but_0_and_1_is_not_packed(wrong: float, place: int) -> None:
    x = torch.zeros(17)
    x[place] = wrong
    assert pack(x) is None


def test_memory_is_used_again_only_when_nothing_holds_it() -> None:
    buffers.release()
    shape = (buffers.SMALLEST,)
    first = buffers.empty(shape, torch.float32)
    held = first[3:5]
    held.fill_(7.0)
    address = first.data_ptr()
    del first
    gc.collect()
    # A slice still holds it.
    assert buffers.pooled() == 0
    assert buffers.empty(shape, torch.float32).data_ptr() != address
    assert held.tolist() == [7.0, 7.0]
    del held
    gc.collect()
    sizes = [buffers.empty(shape, torch.float32) for _ in range(2)]
    assert address in [t.data_ptr() for t in sizes]


def test_no_more_than_the_limit_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    buffers.release()
    monkeypatch.setattr(buffers, "POOLED", 3 * buffers.SMALLEST)
    tensors = [buffers.empty((size * buffers.SMALLEST,), torch.uint8) for size in (1, 2, 2, 5)]
    del tensors
    gc.collect()
    assert 0 < buffers.pooled() <= 3 * buffers.SMALLEST
    buffers.release()
    assert buffers.pooled() == 0


def test_outputs_of_two_calls_never_share_memory() -> None:
    x = torch.randn(20, 128, 200)
    layer = LIF()
    first = layer(x)
    copy = first.clone()
    second = layer(-x)
    assert torch.equal(first, copy)
    assert not torch.equal(first, second)
