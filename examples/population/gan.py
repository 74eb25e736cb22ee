"""A generative adversarial network on MNIST, scored as the Inception score is, by a classifier of our own.

    python examples/population/gan.py --strategy population --out runs/gan          (BITSPIKE_DATA holds MNIST)

A small DCGAN (Radford et al. 2015): transposed convolutions from 64 normal numbers to an image, convolutions from an
image to a logit, both learning by the usual loss (the generator by -log D(G(z))). The score is

    exp( mean over x of KL(p(y|x) || p(y)) ),      at most 10, for ten classes

of generated images x; p(y|x) is a spiking network trained by `bitspike train`, once, in the folder `--classifier`. It
is high where each image is clearly one digit and all digits occur; that of real test images is printed beside it. The
two learning rates evolve, each by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from domain import Member, command, conclude, evolved, machine, options
from torch import Tensor, nn

import bitspike
from bitspike.draws import generator

SPACE = {name: {"kind": "log-uniform", "low": 1e-5, "high": 1e-2} for name in ("lr_generator", "lr_discriminator")}
LATENT, BATCH, SCORED = 64, 64, 1000


def weighed(*layers: nn.Module) -> nn.Sequential:
    """Layers whose weights begin as N(0, 0.02)."""
    made = nn.Sequential(*layers)
    for layer in made:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, std=0.02)
    return made


def generator_of(width: int = 32) -> nn.Sequential:
    """(B, LATENT) to images (B, 1, 28, 28) between 0 and 1."""
    return weighed(
        nn.Linear(LATENT, 2 * width * 49), nn.Unflatten(1, (2 * width, 7, 7)), nn.BatchNorm2d(2 * width), nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 4, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.ConvTranspose2d(width, 1, 4, 2, 1), nn.Sigmoid(),
    )  # fmt: skip


def discriminator_of(width: int = 16) -> nn.Sequential:
    """Images to logits (B, 1): real or not."""
    return weighed(
        nn.Conv2d(1, width, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, 2, 1), nn.BatchNorm2d(2 * width), nn.LeakyReLU(0.2),
        nn.Flatten(), nn.Linear(2 * width * 49, 1),
    )  # fmt: skip


class Painter(Member):
    """Both networks, the images that they learn from, and the classifier that scores."""

    def __init__(self, images: Tensor, classifier: Any, seed: int) -> None:
        """images: (N, 1, 28, 28) between 0 and 1, as the classifier knows them."""
        super().__init__(seed)
        self.images, self.classifier = images, classifier

    def build(self, values: dict[str, Any]) -> dict[str, Any]:
        """Networks and optimisers."""
        self.generator, self.discriminator = generator_of(), discriminator_of()
        adam = [
            torch.optim.Adam(network.parameters(), values[lr], betas=(0.5, 0.999))
            for network, lr in ((self.generator, "lr_generator"), (self.discriminator, "lr_discriminator"))
        ]
        return {"generator": self.generator, "discriminator": self.discriminator, "learns": adam[0], "judges": adam[1]}

    def update(self, source: torch.Generator) -> float:
        """The discriminator learns from a batch of each kind, then the generator from its answer."""
        self.generator.train()
        real = self.images[torch.randint(len(self.images), (BATCH,), generator=source)]
        made = self.generator(torch.randn(BATCH, LATENT, generator=source))
        softplus = nn.functional.softplus  # -log sigmoid(-x)
        judged = softplus(-self.discriminator(real)).mean() + softplus(self.discriminator(made.detach())).mean()
        self.parts["judges"].zero_grad()
        judged.backward()
        self.parts["judges"].step()
        fooled = softplus(-self.discriminator(made)).mean()
        self.parts["learns"].zero_grad()
        fooled.backward()
        self.parts["learns"].step()
        return float((judged + fooled).detach())

    def measure(self) -> float:
        """The score of SCORED images, of the same numbers for every member."""
        return self.score(self.paint(SCORED, "score"))

    @torch.no_grad()
    def paint(self, count: int, purpose: str) -> Tensor:
        """Images of named numbers, (count, 1, 28, 28)."""
        self.generator.eval()
        found: Tensor = self.generator(torch.randn(count, LATENT, generator=generator(self.seed, purpose)))
        return found

    def score(self, images: Tensor) -> float:
        """exp of the mutual information of image and class; without the classifier's temperature."""
        p = self.classifier.predict(images, scaled=False).double().clamp_min(1e-12)
        return float((p * (p.log() - p.mean(0).log())).sum(1).mean().exp())


def classifier_in(folder: Path, epochs: int) -> Any:
    """The classifier: read back, gone on with, or trained."""
    if (folder / "result.json").exists():
        return bitspike.load(folder)
    print(f"{folder}: training the classifier", flush=True)
    how = {"resume": (folder / "checkpoints" / "last.json").exists()}
    return bitspike.train("mnist-conv-full", folder, overrides=[f"training.epochs={epochs}"], **how)


def main() -> None:
    """See the module."""
    asking = options(__doc__ or "", updates=4000, every=400)
    asking.add_argument("--classifier", type=Path, default=Path("runs/gan-classifier"), help="its run folder")
    asking.add_argument("--classifier-epochs", type=int, default=2, help="where it is trained first")
    asked = asking.parse_args()
    classifier = classifier_in(asked.classifier, asked.classifier_epochs)
    data = classifier.dataset()
    painter = Painter(data.train.x, classifier, asked.seed)
    result = evolved(painter, SPACE, asked)
    tested = {"test": painter.score(painter.paint(5000, "test")), "real": painter.score(data.test.x[:SCORED])}
    conclude(asked.out, result | tested | {"data": dict(data.digests), "environment": machine()})


if __name__ == "__main__":
    command(main)
