"""Copies of one network that learn side by side, as one stack of tensors."""

from bitspike.errors import refuse
from bitspike.learners.backprop import BackpropLearner
from bitspike.learners.base import Learner
from bitspike.learners.online import OnlineLearner
from bitspike.learners.stacked.backprop import BackpropStack
from bitspike.learners.stacked.online import OnlineStack
from bitspike.learners.stacked.stack import Stack

__all__ = ["Stack", "stack_of"]


def stack_of(learner: Learner, size: int, asked: str = "stack") -> Stack:
    """`size` copies of what a learner learns; what cannot be stacked is refused by name. asked: who asked for it."""
    if isinstance(learner, BackpropLearner) and type(learner).fit_batch is BackpropLearner.fit_batch:
        return BackpropStack(learner, size, asked)
    if isinstance(learner, OnlineLearner) and type(learner).fit_batch is OnlineLearner.fit_batch:
        return OnlineStack(learner, size, asked)
    refuse(asked, f"{size} with a {type(learner).__name__}", "1, or learner.rule 'backprop' or 'online'")
