"""Tables of learning from events, for `make_tables`: BiSNN by three precisions, circuits against Bernoulli neurons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import spike_tables

ARMS = {"full": "real weights", "st": "±1, straight-through", "bayes": "±1, Bayesian, ten draws"}
OTHER = {"test_map": "- most probable weights", "test_one_pass_by_the_step": "- one pass, a new draw at each step"}
NETWORKS = {"vowel": "VOWEL, C = 2", "glm, signed": "GLM, an input for each sign", "glm, unsigned": "GLM, signs merged"}


def spread(found: dict[str, Any], factor: float = 1, digits: int = 3) -> str:
    """Mean ± standard deviation."""
    return f"{factor * found['mean']:.{digits}f} ± {factor * found['std']:.{digits}f}"


def signed_events(names: Sequence[str]) -> str:
    """Accuracy and calibration of real, binary and Bayesian weights, set by set."""
    found = spike_tables.read("bisnn-events")
    if found is None:
        return ""
    lines = [["set", "weights", "accuracy %", "NLL", "ECE", "NLL scaled", "ECE scaled"]]
    keys = ("nll", "ece", "scaled_nll", "scaled_ece")
    for name in names:
        for arm, label in ARMS.items():
            one = found["sets"][name]["arms"][arm]
            lines.append([f"`{name}`", label, spread(one["accuracy"], 100, 1), *(spread(one[key]) for key in keys)])
            for other, words in OTHER.items():
                if other in one:
                    cells = [spread(one[other][key]) if key in one[other] else "" for key in keys]
                    lines.append(["", words, spread(one[other]["accuracy"], 100, 1), *cells])
    return spike_tables.markdown(lines)


def signed_differences(names: Sequence[str]) -> str:
    """Paired differences by set: of accuracy by recording, of calibration by seed or fold."""
    found = spike_tables.read("bisnn-events")
    if found is None:
        return ""
    pairs = list(found["sets"][names[0]]["accuracy"])
    lines = [["difference of", *(f"`{name}`" for name in names)]]
    lines += [
        [f"accuracy (points), {pair}", *(spike_tables.points(found["sets"][name]["accuracy"][pair]) for name in names)]
        for pair in pairs
    ]
    for metric, label in (("scaled_nll", "NLL scaled"), ("scaled_ece", "ECE scaled"), ("ece", "ECE")):
        for pair in pairs:
            each = [found["sets"][name]["calibration"][pair][metric] for name in names]
            lines.append([f"{label}, {pair}", *(spike_tables.within(one, "+.3f") for one in each)])
    return spike_tables.markdown(lines)


def circuits(_: Sequence[str]) -> str:
    """Winner-take-all circuits against Bernoulli neurons, by the number of hidden circuits."""
    found = spike_tables.read("vowel-against-glm")
    if found is None:
        return ""
    lines = [["hidden", *NETWORKS.values(), "VOWEL minus GLM, signs", "VOWEL minus GLM, merged"]]
    rows = {"0": found["without_hidden"]} | {size: one["arms"] for size, one in found["circuits"].items()}
    for size, arms in sorted(rows.items(), key=lambda row: int(row[0])):
        cells = [f"{spread(arms[name]['accuracy'], 100, 1)} ({arms[name]['parameters'] / 1000:,.0f} k)"
                 for name in NETWORKS]  # fmt: skip
        minus = found["circuits"][size]["minus"] if size != "0" else None
        against = ["", ""] if minus is None else [spike_tables.points(minus[name]) for name in list(NETWORKS)[1:]]
        lines.append([size, *cells, *against])
    return spike_tables.markdown(lines)


MAKERS = {"signed-events": signed_events, "signed-differences": signed_differences, "circuits": circuits}
