import torch

from bitspike.models import feedforward
from bitspike.models.explain import explain_backend, table
from bitspike.neurons import LIF


def test_every_neuron_layer_is_explained() -> None:
    model = feedforward((6,), 3, ["5", "4"], LIF)
    model.spikes2.back_end = "reference"
    rows = [r for r in explain_backend(model, torch.zeros(7, 2, 6)) if r.kind == "LIF"]
    assert [(r.layer, r.input, r.takes) for r in rows] == [
        ("spikes1", (7, 2, 5), "cpu"),
        ("spikes2", (7, 2, 4), "reference"),
    ]
    # LIF keeps one float32 membrane per step and neuron.
    assert rows[0].kept == 4.0
    assert rows[1].why == "asked for"
    text = table(rows).splitlines()
    assert text[0].split() == ["layer", "kind", "input", "takes", "why", "kept"]
    assert "fastest for cpu tensors" in text[1]
