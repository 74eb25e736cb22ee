"""Networks that describe themselves: typed nodes, and a run that goes on where it stopped. See `plan_of`."""

from bitspike.models.plan import networks, planned_units, planners  # noqa: F401 - register what they plan
from bitspike.models.plan.answers import Decode, Latest
from bitspike.models.plan.build import plan_of, planner
from bitspike.models.plan.cells import Feedback, Gates, Legendre, Memory
from bitspike.models.plan.nodes import Activity, Flatten, Input, Join, Node, Pool, Scale
from bitspike.models.plan.plan import Plan
from bitspike.models.plan.units import Quantiser, Step
from bitspike.models.plan.weighing import Weights

__all__ = [
    "Activity", "Decode", "Feedback", "Flatten", "Gates", "Input", "Join", "Latest", "Legendre", "Memory", "Node",
    "Plan", "Pool", "Quantiser", "Scale", "Step", "Weights", "plan_of", "planner",
]  # fmt: skip
