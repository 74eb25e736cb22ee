"""What a codec writes it reads again; bits are those of what is in the message."""

from __future__ import annotations

import pytest
import torch

from bitspike import registry
from bitspike.errors import BitspikeError
from bitspike.federated.aggregators import Mean, Reply
from bitspike.federated.codecs import Setting
from bitspike.federated.codecs.packing import bytes_of, pack, unpack
from bitspike.federated.messages import Message, Refused, check_message
from bitspike.federated.roles import each, sums
from bitspike.options import read

SETTING = Setting(0, 3, 5)


def network(seed, latent=True, scale=1.0):
    source = torch.Generator().manual_seed(seed)

    def some(*shape):
        return torch.randn(*shape, generator=source) * scale

    roles = {"latent": {"a": some(7, 5)} if latent else {}, "real": {"weight": some(4, 8, 3), "b": some(6)}}
    return {**roles, "statistic": {"n": sums("statistic", torch.stack([some(6), some(6).square()]))}}


def moved(base, by=0.1, seed=9):
    other = network(seed)
    return {role: {name: base[role][name] + by * tensor if role != "statistic" else tensor
                   for name, tensor in other[role].items()} for role in base}  # fmt: skip


def codec(kind, **options):
    return registry.make(read(registry.options("codec", kind), options, kind))


def sent(kind, base, new, state=None, setting=SETTING, **options):
    """Packet, and the reply it is read as."""
    one = codec(kind, **options)
    packet = one.encode(new, base, setting, {} if state is None else state)
    message = Message(5, 3, 10, "hash", packet)
    check_message(message, 5, {3}, {}, "hash", one.form(base))
    roles, present = one.decode(packet, base, setting)
    return message, Reply(3, 10, roles, present)


# Latents 35, real 96 + 6, statistics 2 x 6 numbers.
BITS = [
    ("full", {}, 32 * (35 + 102 + 12)),
    ("eight-bit", {}, 8 * (35 + 102) + 3 * 64 + 32 * 12),
    ("sign", {}, 8 * (5 + 12 + 1) + 3 * 32 + 32 * 12),
    # k = 4, 10, 1 of 35, 96, 6; places of 6, 7 and 3 bits.
    ("top-k", {"share": 0.1}, 32 * 15 + 8 * (3 + 9 + 1) + 32 * 12),
    ("components", {"components": 2}, 32 * (35 + 24 + 6 + 12) + 8),
    ("natural", {"bits": 3}, 8 * 14 + 16 * (102 + 12)),
    ("posterior-samples", {}, 8 * 5 + 16 * (102 + 12)),
    ("posterior-samples", {"samples": 3, "others": 32}, 8 * 14 + 32 * (102 + 12)),
]


@pytest.mark.parametrize(("kind", "options", "bits"), BITS, ids=str)
def test_bits_are_those_of_the_message_and_nothing_new_says_nothing(kind, options, bits):
    base = network(0)
    message, _ = sent(kind, base, moved(base), **options)
    assert message.bits == bits
    _, same = sent(kind, base, base, **options)
    space = codec(kind, **options).space(base)
    close = {"natural": 4 / 7 + 1e-3}.get(kind, 2e-3)
    for role, name, tensor in each(same.roles):
        near = close if role == "latent" else 2e-3
        assert torch.allclose(tensor, space[role][name].to(tensor.dtype), atol=near, rtol=1e-3), name


def test_full_is_exact():
    base = network(0)
    new = moved(base)
    _, reply = sent("full", base, new)
    for role, name, tensor in each(reply.roles):
        assert torch.allclose(tensor, new[role][name], atol=0 if role != "statistic" else 1e-6)


def test_eight_bits_are_within_half_a_step():
    base = network(0)
    new = moved(base)
    _, reply = sent("eight-bit", base, new)
    for role, name in (("latent", "a"), ("real", "weight")):
        change = new[role][name] - base[role][name]
        step = (change.max() - change.min()) / 255
        assert float((reply.roles[role][name] - new[role][name]).abs().max()) <= float(step) * 0.51


@pytest.mark.parametrize(
    ("kind", "options"), [("sign", {}), ("top-k", {"share": 0.05}), ("eight-bit", {"feedback": True})]
)
def test_what_is_left_out_comes_later(kind, options):
    """What is read and what is still left are together what was wanted, round after round."""
    base, state = network(0), {}
    new = moved(base)
    change = new["real"]["weight"] - base["real"]["weight"]
    total = torch.zeros_like(change)
    for _ in range(30):
        _, reply = sent(kind, base, new, state, **options)
        total += reply.roles["real"]["weight"] - base["real"]["weight"]
    assert torch.allclose(total.flatten() + state["left"]["real"]["weight"], 30 * change.flatten(), atol=1e-3)
    assert float(total.norm()) > 10 * float(change.norm())


def test_largest_changes_are_sent_as_they_are():
    base = network(0)
    new = moved(base)
    _, reply = sent("top-k", base, new, share=0.25)
    change, read_ = (
        new["real"]["weight"] - base["real"]["weight"],
        reply.roles["real"]["weight"] - base["real"]["weight"],
    )
    kept = read_ != 0
    assert int(kept.sum()) == 24
    assert torch.allclose(read_[kept], change[kept], atol=1e-6)
    assert float(change[~kept].abs().max()) <= float(change[kept].abs().min())


def test_filters_are_chosen_by_their_change_and_those_nobody_sent_become_zero():
    base = network(0)
    new = {role: {name: tensor.clone() for name, tensor in some.items()} for role, some in base.items()}
    new["real"]["weight"][:, 2] += 5
    new["real"]["weight"][:, 6] -= 3
    message, reply = sent("components", base, new, components=2)
    assert reply.present["real", "weight"].flatten().nonzero()[:, 0].tolist() == [2, 6]
    assert message.parts["real"]["weight"]["value"].shape == (4, 2, 3)
    other = {role: {name: tensor.clone() for name, tensor in some.items()} for role, some in base.items()}
    other["real"]["weight"][:, 2] += 1
    other["real"]["weight"][:, 0] += 1
    _, second = sent("components", base, other, components=2)
    one = codec("components", components=2)
    summed = Mean().combine([reply, second], base)
    found = one.learned(summed, base, [reply, second])["real"]["weight"]
    before = base["real"]["weight"]
    assert torch.allclose(found[:, 2], before[:, 2] + 3)  # both: the mean
    assert torch.allclose(found[:, 6], before[:, 6] - 3)  # one: its value
    assert not found[:, [1, 3, 4, 5, 7]].any()  # nobody: zero
    kept = codec("components", components=2, missing="keep").learned(Mean().combine([reply, second], base), base, [])
    assert torch.equal(kept["real"]["weight"][:, 1], before[:, 1])
    # All of them, equally: plain averaging.
    _, every = sent("components", base, new, components=8)
    plain = Mean().combine([Reply(0, 1, new), Reply(1, 1, new)], base)
    whole = codec("components", components=8).learned(Mean().combine([every, every], base), base, [every])
    assert torch.allclose(whole["real"]["weight"], plain["real"]["weight"], atol=1e-7)
    with pytest.raises(BitspikeError, match=r"tensors: got 'wait', wanted of weight, a|of a, weight"):
        codec("components", tensors=["wait"]).check(base)
    with pytest.raises(BitspikeError, match="at most the 8 filters"):
        codec("components", components=9).check(base)


def many(kind, latent, base, rounds, **options):
    """Mean over rounds of what replies of one unchanging client say of its latent."""
    new = {**base, "latent": {"a": latent}}
    parts = [sent(kind, base, new, setting=Setting(0, 1, k), **options)[1].roles["latent"]["a"] for k in range(rounds)]
    return torch.stack(parts)


def test_draws_say_the_mean_without_bias_and_little_where_little_changed():
    base = network(0)
    latent = base["latent"]["a"] + 0.05
    wanted, before = torch.tanh(latent), torch.tanh(base["latent"]["a"])
    paired, running = (many("posterior-samples", latent, base, 600, estimate=way) for way in ("paired", "running"))
    # Variances 4 |p_k - p| = 2 |mu_k - mu|, and 1 - mu^2.
    for found, variance in ((paired, 2 * (wanted - before).abs()), (running, 1 - wanted.square())):
        assert torch.allclose(found.var(0).float(), variance, atol=0.1)
        standard = (found.mean(0) - wanted).square() / (variance / 600)
        assert 0.5 < float(standard.mean()) < 1.7
    assert float(paired.var(0).mean()) < 0.2 * float(running.var(0).mean())


def test_replies_of_a_round_draw_evenly():
    """Each reply is a draw of its posterior; of K alike the mean is within 1/K of theirs, whoever drew what."""
    base, of = network(0), 8
    latent = torch.randn(7, 5, generator=torch.Generator().manual_seed(9))
    one = codec("posterior-samples", estimate="running")
    rounds = []
    for number in range(400):
        settings = [Setting(0, 100 + k, number, k, of) for k in range(of)]
        packets = [one.encode({**base, "latent": {"a": latent}}, base, setting, {}) for setting in settings]
        read = [one.decode(p, base, s)[0]["latent"]["a"] for p, s in zip(packets, settings, strict=True)]
        rounds.append(torch.stack(read))
    drawn, wanted = torch.stack(rounds), torch.tanh(latent)
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}
    assert float((drawn.mean(1) - wanted).abs().max()) <= 2 / of + 1e-6
    standard = (drawn.mean(0) - wanted).square() / ((1 - wanted.square()) / 400)
    assert 0.5 < float(standard.mean()) < 1.7  # of each client by itself, over the rounds


def test_draws_of_many_rounds_add_up_to_a_posterior():
    """The server ends at the mean of its clients' posteriors, which it never sees."""
    clients = [0.8 * torch.randn(7, 5, generator=torch.Generator().manual_seed(k)) for k in range(4)]
    wanted = torch.stack([torch.tanh(latent) for latent in clients]).mean(0)
    one = codec("posterior-samples", gain=0.05)
    base = network(0)
    for number in range(400):
        replies = []
        for k, latent in enumerate(clients):
            setting = Setting(0, k, number, k, len(clients))
            packet = one.encode({**base, "latent": {"a": latent}}, base, setting, {})
            replies.append(Reply(k, 1, one.decode(packet, base, setting)[0]))
        base = one.learned(Mean().combine(replies, one.space(base)), base, replies)
    assert float((torch.tanh(base["latent"]["a"]) - wanted).abs().mean()) < 0.05


def test_dither_is_unbiased_within_the_limit():
    base = network(0)
    latent = torch.linspace(-2, 2, 35).view(7, 5)
    found = many("natural", latent, base, 500, bits=2)
    step = 8 / 3
    assert float((found - latent).abs().max()) <= step / 2 + 1e-5
    assert torch.allclose(found.mean(0), latent, atol=0.2)


@pytest.mark.parametrize("width", [1, 3, 8, 11, 17])
def test_numbers_of_a_few_bits_come_back(width):
    values = torch.randint(2**width, (37,), generator=torch.Generator().manual_seed(width))
    packed = pack(values, width)
    assert packed.dtype == torch.uint8
    assert len(packed) == bytes_of(37, width) == -(-37 * width // 8)
    assert torch.equal(unpack(packed, 37, width), values)


def test_places_outside_and_a_wrong_number_of_filters_are_refused():
    base = network(0)
    one = codec("top-k", share=0.1)
    packet = one.encode(moved(base), base, SETTING, {})
    packet["real"]["weight"]["places"].fill_(255)
    with pytest.raises(Refused, match="places"):
        one.decode(packet, base, SETTING)
    two = codec("components", components=2)
    packet = two.encode(moved(base), base, SETTING, {})
    packet["real"]["weight"]["chosen"].fill_(255)
    with pytest.raises(Refused, match="8 filters, wanted 2"):
        two.decode(packet, base, SETTING)
