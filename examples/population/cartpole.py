"""Reinforcement learning with a spiking policy: CartPole, or any Gymnasium task with discrete actions.

    python examples/population/cartpole.py --strategy population --out runs/cartpole
    python examples/population/cartpole.py --task LunarLander-v3 --updates 400 --out runs/lander
    pip install -e '.[domains]'

Two layers of LIF neurons see an observation as a constant current for a few steps; from their spikes over these steps
come the logits of the actions and the value of the state. It learns by clipped policy gradients (PPO, Schulman et al.
2017) from advantages (GAE):

    delta_t = r_t + gamma V(s_t+1) - V(s_t)        A_t = delta_t + gamma lambda A_t+1      within an episode

An update plays from fresh starts, so that nothing of an environment is carried from one to the next. Learning rate,
weight of the entropy, and the neurons' time constant evolve, by the mean return of episodes played greedily.
"""

from __future__ import annotations

from typing import Any

import torch
from domain import Member, command, conclude, evolved, machine, options
from torch import Tensor, nn

from bitspike.draws import generator
from bitspike.neurons import LIF

SPACE = {
    "lr": {"kind": "log-uniform", "low": 1e-4, "high": 3e-2},
    "entropy": {"kind": "log-uniform", "low": 1e-4, "high": 1e-1},
    "tau": {"kind": "log-uniform", "low": 1.0, "high": 10.0},
}
GAMMA, LAMBDA, CLIP, PASSES, BATCH = 0.99, 0.95, 0.2, 4, 512
PLAYERS, HORIZON, EPISODES = 8, 500, 20
UNIT = 0.01  # of rewards, so that values are of the size of logits


class Policy(nn.Module):
    """Observations (B, D) to logits (B, A) and values (B,)."""

    def __init__(self, inputs: int, actions: int, tau: float, hidden: int = 64, steps: int = 4) -> None:
        super().__init__()
        self.steps = steps
        self.first, self.second = nn.Linear(inputs, hidden), nn.Linear(hidden, hidden)
        self.neurons = nn.ModuleList([LIF(tau), LIF(tau)])
        self.logits, self.value = nn.Linear(hidden, actions), nn.Linear(hidden, 1)
        for layer in (self.first, self.second):
            nn.init.orthogonal_(layer.weight, 2.0)
        nn.init.orthogonal_(self.logits.weight, 0.01)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes are averaged over the steps."""
        current = self.first(x).expand(self.steps, -1, -1)
        spikes = self.neurons[1](self.second(self.neurons[0](current)))
        rates = spikes.mean(0)
        return self.logits(rates), self.value(rates).squeeze(-1)


class Player(Member):
    """A policy and what it plays."""

    def __init__(self, task: str, seed: int) -> None:
        super().__init__(seed)
        self.task = task
        self.envs = {count: made(task, count) for count in (PLAYERS, EPISODES)}

    def build(self, values: dict[str, Any]) -> dict[str, Any]:
        """The policy and its optimiser."""
        env = self.envs[PLAYERS]
        self.policy = Policy(env.single_observation_space.shape[0], int(env.single_action_space.n), values["tau"])
        return {"policy": self.policy, "optimiser": torch.optim.Adam(self.policy.parameters(), values["lr"], eps=1e-5)}

    def play(self, source: torch.Generator) -> dict[str, Tensor]:
        """HORIZON steps of PLAYERS environments, (H, E) each, with `counts` False where one was only started anew."""
        env, rows, counts = self.envs[PLAYERS], [], torch.ones(PLAYERS, dtype=torch.bool)
        seen = started(env, source)
        for _ in range(HORIZON):
            with torch.no_grad():
                logits, value = self.policy(seen)
            probability = logits.softmax(-1)
            action = torch.multinomial(probability, 1, generator=source)
            new, reward, ended, cut, _ = env.step(action.squeeze(1).numpy())
            new, reward, ended, cut = tensor(new), UNIT * tensor(reward), torch.from_numpy(ended), torch.from_numpy(cut)
            logged = logits.log_softmax(-1).gather(1, action).squeeze(1)
            rows.append((seen, action.squeeze(1), logged, value, reward, new, ended, ended | cut, counts))
            # A step that follows an end only starts anew.
            seen, counts = new, ~(ended | cut)
        names = ("seen", "action", "logged", "value", "reward", "next", "ended", "done", "counts")
        found = {name: torch.stack(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
        with torch.no_grad():
            return found | {"after": self.policy(found["next"].flatten(0, 1))[1].view_as(found["value"])}

    def update(self, source: torch.Generator) -> float:
        """Play, then a few passes over what was seen."""
        found = self.play(source)
        advantage, later = torch.zeros_like(found["value"]), torch.zeros(PLAYERS)
        delta = found["reward"] + GAMMA * found["after"] * ~found["ended"] - found["value"]
        for t in reversed(range(HORIZON)):
            later = delta[t] + GAMMA * LAMBDA * later * ~found["done"][t]
            advantage[t] = later
        some = found["counts"]
        target = (advantage + found["value"])[some]
        advantage = advantage[some]
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        seen, action, logged = (found[name][some] for name in ("seen", "action", "logged"))
        optimiser, total = self.parts["optimiser"], 0.0
        for _ in range(PASSES):
            for rows in torch.randperm(len(target), generator=source).split(BATCH):
                logits, value = self.policy(seen[rows])
                logs = logits.log_softmax(-1)
                ratio = (logs.gather(1, action[rows, None]).squeeze(1) - logged[rows]).exp()
                gain = torch.minimum(ratio * advantage[rows], ratio.clamp(1 - CLIP, 1 + CLIP) * advantage[rows])
                entropy = -(logs.exp() * logs).sum(1)
                error = nn.functional.mse_loss(value, target[rows])
                loss = error - gain.mean() - self.values["entropy"] * entropy.mean()
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.policy.parameters(), 0.5)
                optimiser.step()
                total += float(loss.detach())
        return total

    def measure(self) -> float:
        """Mean return of EPISODES episodes, the likeliest action always taken; the same starts for every member."""
        return self.returns(EPISODES, "score")

    def returns(self, episodes: int, purpose: str) -> float:
        """Mean return of the first episode of as many environments."""
        env = self.envs.get(episodes) or made(self.task, episodes)
        seen, total = started(env, generator(self.seed, purpose)), torch.zeros(episodes)
        running = torch.ones(episodes, dtype=torch.bool)
        while bool(running.any()):
            with torch.no_grad():
                action = self.policy(seen)[0].argmax(-1)
            new, reward, ended, cut, _ = env.step(action.numpy())
            total += tensor(reward) * running
            running &= ~torch.from_numpy(ended | cut)
            seen = tensor(new)
        return float(total.mean())


def made(task: str, count: int) -> Any:
    """Environments side by side, vectorised where the task is."""
    import gymnasium

    entry = gymnasium.spec(task).vector_entry_point
    return gymnasium.make_vec(task, count, vectorization_mode="sync" if entry is None else "vector_entry_point")


def started(env: Any, source: torch.Generator) -> Tensor:
    """Observations of fresh starts."""
    return tensor(env.reset(seed=int(torch.randint(2**31, (), generator=source)))[0])


def tensor(values: Any) -> Tensor:
    """float32."""
    return torch.as_tensor(values, dtype=torch.float32)


def main() -> None:
    """See the module."""
    asking = options(__doc__ or "", updates=80, every=8)
    asking.add_argument("--task", default="CartPole-v1", help="a Gymnasium task with discrete actions")
    asked = asking.parse_args()
    player = Player(asked.task, asked.seed)
    result = evolved(player, SPACE, asked)
    tested = {"test": player.returns(100, "test"), "environment": machine("gymnasium")}
    conclude(asked.out, result | tested)


if __name__ == "__main__":
    command(main)
