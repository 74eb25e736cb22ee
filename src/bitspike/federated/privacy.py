"""Client-level differential privacy: how little the network tells of any one client's data.

    w <- w + [ sum_k clip(w_k - w, C) + N(0, (z C)^2) ] / n     over all that is learned; n replies that were due

Adjacent federations differ in one client, replaced by another, which moves the sum by 2 C at most: the noise is z / 2
times that. Clients asked in a round are a sample without replacement (of all: no sampling). The accountant is
dp-accounting's (Renyi divergences), and counts the rounds in which the network changed.

The noise is drawn by a key that the operating system gives and that lies beside the run, so that a run which goes on
draws the same: whoever has the key can take the noise off again. No reply is refused for its length, which would
depend on other clients' (`federation.norm_bound`); clipping bounds it. Arithmetic is that of floating point, not
hardened against attacks on its rounding. Losses and deviations of single clients are not recorded.
Source: McMahan et al. 2018.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitspike.draws import normal
from bitspike.errors import damaged, refuse
from bitspike.extras import missing
from bitspike.federated.aggregators import Reply
from bitspike.federated.roles import LEARNED, mapped, over
from bitspike.learners.exchange import Given, Roles
from bitspike.run.checkpoint import read_json, write_json

FILE = "privacy-key.json"


class Private:
    """Clips replies and adds noise; options: the recipe's `federation.privacy`. folder: where the key is kept."""

    def __init__(self, options: Any, clients: int, asked: int, folder: Path | None = None) -> None:
        self.clip, self.noise, self.delta = options.clip, options.noise, options.delta
        self.clients, self.asked, self.folder = clients, asked, folder
        self._key: str | None = None
        self._accountant: Any = None
        self._counted = 0
        self._made()

    def _made(self) -> Any:
        """An accountant that has counted nothing, and the event of a round."""
        try:
            import dp_accounting
            from absl import logging
            from dp_accounting.rdp import rdp_privacy_accountant
        except ImportError:
            missing("privacy", "federation.privacy")
        # It says on standard error which orders it leaves out.
        logging.set_verbosity(logging.ERROR)
        event: Any = dp_accounting.GaussianDpEvent(self.noise / 2)
        if self.asked < self.clients:
            event = dp_accounting.SampledWithoutReplacementDpEvent(self.clients, self.asked, event)
        relation = dp_accounting.NeighboringRelation.REPLACE_ONE
        return rdp_privacy_accountant.RdpAccountant(neighboring_relation=relation), event

    def epsilon(self, rounds: int) -> float:
        """At the recipe's delta, after so many rounds that changed the network."""
        if not rounds:
            return 0.0
        if self._accountant is None or rounds < self._counted:
            (self._accountant, self._event), self._counted = self._made(), 0
        if rounds > self._counted:
            self._accountant.compose(self._event, rounds - self._counted)
            self._counted = rounds
        return float(self._accountant.get_epsilon(self.delta))

    @property
    def key(self) -> str:
        """What names the noise."""
        if self._key is None:
            path = None if self.folder is None else self.folder / FILE
            if path is not None and path.exists():
                with damaged(f"'{path}'"):
                    self._key = str(read_json(path)["key"])
            else:
                self._key = secrets.token_hex(32)
                if path is not None:
                    write_json(path, {"key": self._key})
                    path.chmod(0o600)
        return self._key

    def clipped(self, reply: Reply, base: Given) -> Reply:
        """The reply with its update no longer than C."""
        length = over(reply.distances)
        if length <= self.clip:
            return reply
        share = self.clip / length

        def shortened(role: str, name: str, tensor: Tensor) -> Tensor:
            return torch.lerp(base[role][name].double(), tensor.double(), share) if role in LEARNED else tensor

        return Reply(reply.client, reply.examples, mapped(reply.roles, shortened), reply.present, reply.distances)

    def noisy(self, new: Roles, base: Given, came: int, wanted: int, number: int) -> Roles:
        """The sum of `came` clipped updates, of which `new` is the mean, over those `wanted`, with its noise.

        How many are wanted does not depend on what clients hold: a reply that is refused counts as no change.
        """
        size: float = self.noise * self.clip / wanted

        def drawn(role: str, name: str, tensor: Tensor) -> Tensor:
            if role not in LEARNED:
                return tensor
            noise = normal(tensor.numel(), self.key, "privacy", number, role, name).view(tensor.shape)
            mean = tensor.double()
            if came != wanted:
                mean = torch.lerp(base[role][name].double(), mean, came / wanted)
            return torch.add(mean, noise.double(), alpha=size).to(tensor.dtype)

        return mapped(new, drawn)


def check(part: Any, dataset: Any, mean_image: bool, statistics: bool, partial: bool) -> None:
    """Refuse what would tell more than is accounted for."""
    if mean_image:
        refuse("data.mean_image", "true with federation.privacy", "false: the mean of all clients' images is no secret")
    of_examples = dataset.input in ("vector", "series") and dataset.normalisation["kind"] != "none"
    if dataset.name == "folder" and (of_examples or dataset.target is not None):
        came = "a range or mean of all clients' values with federation.privacy"
        refuse("data.options.normalise", came, "'none', and classes: these numbers are stored without noise")
    if part.aggregator.kind != "mean":
        came = f"'{part.aggregator.kind}' with federation.privacy"
        refuse("federation.aggregator.kind", came, "'mean': every client counts the same")
    if statistics and part.statistics != "home":
        refuse("federation.statistics", "'sums' with federation.privacy", "'home': they would be sent without noise")
    if partial:
        refuse("federation.codec.kind", f"'{part.codec.kind}' with federation.privacy", "one that sends whole replies")
