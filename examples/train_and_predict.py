"""Train a Bayesian binary-weight spiking network on handwritten digits and ask it how sure it is.

Run: python examples/train_and_predict.py
"""

from __future__ import annotations

import bitspike
from bitspike.data import load

run = bitspike.train("digits-bayes", "runs/example", overwrite=True)
print(f"test accuracy {run.result['test']['accuracy']:.1%}, ECE {run.result['test']['scaled']['ece']:.3f}")

test = load("digits").test
probabilities = run.predict(test.x[:8])
for probability, target in zip(probabilities, test.y[:8].tolist(), strict=True):
    print(f"a {target}: says {int(probability.argmax())}, {float(probability.max()):.1%} sure")
