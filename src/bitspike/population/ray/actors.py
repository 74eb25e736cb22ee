"""Actors of a cluster that take turns of any member: handed out, waited for, and replaced when they are lost."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bitspike.errors import BitspikeError, one_line
from bitspike.population.turn import Evolution, State, Turn, take_turn
from bitspike.population.worker import mistake, opened
from bitspike.version import __version__

POLL_SECONDS = 0.5


class Job(NamedTuple):
    """All that an actor needs to become any member: the recipe, and where its machine has the data."""

    recipe: str
    data: str | None
    device: str
    threads: int


class Host:
    """An actor. It keeps nothing from turn to turn, so that nothing is lost with it but the turn it was taking."""

    def open(self, job: Job) -> dict[str, Any]:
        """Make ready; says what it stands on, or under "refused" why it cannot."""
        try:
            recipe, self.member = opened(job.recipe, "recipe", job._asdict())
        except Exception as error:
            return {"refused": mistake(error)}
        self.rules = Evolution(recipe.population, recipe.seed)
        return {"version": __version__, "digests": dict(self.member.dataset.digests)}

    def turn(
        self, number: int, before: Turn | None, others: Sequence[Turn], states: Mapping[int, tuple[Turn, State]]
    ) -> tuple[Turn, State] | str:
        """The next turn of a member, and the state it ends with; a text where the recipe or an own file is at fault.

        states: of those that may be gone on from, by member.
        """
        member = self.member
        try:
            turn = take_turn(self.rules, member, number, before, others, lambda one: states[one.member], member.total)
            return turn, {} if turn.broken else member.save()
        except Exception as error:
            return mistake(error)


class Pool:
    """As many actors as are wanted. digests: of the data that each has to have found."""

    def __init__(
        self, ray: Any, job: Job, count: int, gpus: float, digests: Mapping[str, str], most_deaths: int
    ) -> None:
        self.ray, self.job, self.digests, self.most_deaths = ray, job, dict(digests), most_deaths
        self.kind = ray.remote(Host).options(num_cpus=job.threads, num_gpus=gpus, max_restarts=0)
        self.opening: dict[Any, Any] = {}  # what is waited for, and the actor it comes from
        self.free: list[Any] = []
        self.taken: dict[Any, tuple[Any, int]] = {}  # the same of turns, with the member
        self.deaths = 0
        for _ in range(count):
            self._start()

    def _start(self) -> None:
        actor = self.kind.remote()
        self.opening[actor.open.remote(self.job)] = actor

    def give(
        self, number: int, before: Turn | None, others: Sequence[Turn], states: Mapping[int, tuple[Turn, State]]
    ) -> None:
        """Have a free actor take a turn."""
        actor = self.free.pop()
        self.taken[actor.turn.remote(number, before, others, states)] = actor, number

    def wait(self) -> Iterator[tuple[int, tuple[Turn, State] | None]]:
        """What has come since: members with the turns that were taken, None where an actor was lost with it."""
        waited = [*self.opening, *self.taken]
        if not waited:
            time.sleep(POLL_SECONDS)
            return
        done, _ = self.ray.wait(waited, num_returns=len(waited), timeout=0)
        if not done:
            done, _ = self.ray.wait(waited, num_returns=1, timeout=POLL_SECONDS)
        for one in done:
            if one in self.opening:
                actor = self.opening.pop(one)
                found = self._got(one, actor)
                if found is not None:
                    self._check(found)
                    self.free.append(actor)
            else:
                actor, number = self.taken.pop(one)
                found = self._got(one, actor)
                if isinstance(found, str):
                    raise BitspikeError(found)
                if found is not None:
                    self.deaths = 0
                    self.free.append(actor)
                yield number, found

    def _got(self, one: Any, actor: Any) -> Any:
        """What an actor brought; None where it, its machine or its answer is lost: then another takes its place."""
        try:
            return self.ray.get(one)
        except self.ray.exceptions.RayError as error:
            self.deaths += 1
            if self.deaths >= self.most_deaths:
                why = str(error).strip().splitlines()[-1]
                said = f"{self.deaths} actors were lost without a turn between them ({one_line(why)})"
                raise BitspikeError(f"population: {said}; --resume") from error
            self.ray.kill(actor)
            self._start()
            return None

    def _check(self, found: Mapping[str, Any]) -> None:
        """An actor on other ground than the command would take turns of another population."""
        if "refused" in found:
            raise BitspikeError(found["refused"])
        if found["version"] != __version__:
            raise BitspikeError(f"a machine of the cluster: got bitspike {found['version']}, wanted {__version__}")
        if found["digests"] != self.digests:
            raise BitspikeError(
                f"a machine of the cluster: got data of SHA-256 {found['digests']}, wanted {self.digests}"
            )


def room(nodes: Sequence[Mapping[str, Any]], threads: int) -> int:
    """How many actors of `threads` cores the machines of a cluster hold."""
    there = [node["Resources"].get("CPU", 0.0) for node in nodes if node["Alive"]]
    return sum(int(cores // threads) for cores in there)


def share_of_gpus(gpus: float, count: int) -> float:
    """Of a GPU, for each of `count` actors."""
    return 1.0 / -(-count // max(1, int(gpus)))
