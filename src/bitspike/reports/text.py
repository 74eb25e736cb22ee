"""Numbers and runs in words, as a person reads them."""

from __future__ import annotations

import math

from bitspike.reports.rundata import Reliability, RunData, number, section

NONE = "–"
THIN = "\u202f"
PRECISIONS = {
    "full": "real-valued weights",
    "straight-through": "±1 weights",
    "bayesian": "±1 weights drawn from a learnt distribution",
}
# What does not spike while it is trained, by `model.kind` or else by the kind of its neurons.
NETWORKS = {
    "module": "A module of its author's own",
    "lstm": "An LSTM",
    "gru": "A GRU",
    "lmu": "A Legendre memory unit",
    "lmu-parallel": "A Legendre memory unit",
    **{kind: f"A network of {kind} units" for kind in ("relu", "tanh", "sigmoid", "silu", "gelu")},
    "soft-lif": "A network of firing rates (soft LIF)",
    "soft-if": "A network of firing rates (soft IF)",
}


def percent(value: float | None, digits: int = 1) -> str:
    """0.9722 -> '97.2 %' (thin space)."""
    return NONE if value is None else f"{100 * value:.{digits}f}{THIN}%"


def fixed(value: float | None, digits: int = 3) -> str:
    """A plain decimal number."""
    return NONE if value is None else f"{value:.{digits}f}".replace("-", "−")


def whole(value: float | None) -> str:
    """1797.0 -> '1,797'."""
    return NONE if value is None else f"{value:,.0f}"


def si(value: float | None, unit: str) -> str:
    """1.23e-6, 'J' -> '1.23 µJ': three significant digits and a prefix."""
    if value is None:
        return NONE
    if abs(value) < 1e-30:
        return f"0{THIN}{unit}".rstrip(THIN)
    prefixes = {-15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}
    exponent = min(12, max(-15, 3 * math.floor(math.log10(abs(value)) / 3)))
    scaled = value / 10**exponent
    if abs(float(f"{scaled:.3g}")) >= 1000 and exponent < 12:
        exponent, scaled = exponent + 3, scaled / 1000
    digits = max(0, 2 - math.floor(math.log10(abs(float(f"{scaled:.3g}")))))
    return f"{scaled:.{digits}f}{THIN}{prefixes[exponent]}{unit}".rstrip(THIN)


def amount(bits: float | None) -> str:
    """Bits as bytes: 8192 -> '1.00 kB'."""
    return si(None if bits is None else bits / 8, "B")


def duration(seconds: float | None) -> str:
    """93 -> '1 min 33 s'."""
    if seconds is None:
        return NONE
    if seconds < 10:
        return f"{seconds:.1f}{THIN}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}{THIN}h {minutes}{THIN}min"
    return f"{minutes}{THIN}min {rest}{THIN}s" if minutes else f"{rest}{THIN}s"


def ratio(network: float | None, twin: float | None) -> str:
    """How the network's cost stands to its twin's: '3.1 times less', '2.0 times more'."""
    if not network or not twin:
        return ""
    factor = twin / network
    if 0.95 < factor < 1.05:
        return "about the same"
    times = max(factor, 1 / factor)
    return f"{f'{times:.3g}' if times < 999.5 else whole(times)} times {'less' if factor > 1 else 'more'}"


NEAR = 0.035  # half of one of fifteen bins


def said_and_right(bins: Reliability, said: float = 0.9, least: int = 20) -> str:
    """'When it says about 90 % it is right 92 % of the time', of the bin that holds `said`, by what its answers say.

    The averages of all answers where too few say so, or where a wide bin's answers say something else.
    """
    inside = (bins.edges[:-1] <= said) & (said < bins.edges[1:]) & (bins.count >= least)
    if inside.any() and abs(float(bins.confidence[inside][0]) - said) < NEAR:
        confidence, right = (percent(float(values[inside][0]), 0) for values in (bins.confidence, bins.accuracy))
        return f"When it says about {confidence} it is right {right} of the time."
    filled = bins.count > 0
    share = bins.count[filled] / bins.count.sum()
    mean, right = (percent(float(share @ values[filled])) for values in (bins.confidence, bins.accuracy))
    return f"On average it says {mean} and is right {right} of the time."


def _network(run: RunData) -> str:
    """What kind of network it is; a hybrid one sends small whole numbers."""
    model = section(run.recipe, "model")
    kinds = (str(model.get("kind")), str(section(model, "neuron").get("kind")))
    name = next((NETWORKS[kind] for kind in kinds if kind in NETWORKS), "A spiking network")
    return f"{name} that sends whole numbers" if section(model, "hybrid") else name


def summary(run: RunData) -> str:
    """The run in a few plain sentences: what it is, how often it is right, and how far its word can be trusted.

    All of it is the reading of what is shipped, with its temperature, as `predict` answers.
    """
    precision = str(section(run.recipe, "weights").get("precision", ""))
    weights = PRECISIONS.get(precision, f"{precision} weights" if precision else "")
    shipped = section(run.result, "shipped")
    draws = number(shipped, "draws") if shipped else number(run.recipe, "evaluation", "draws")
    if precision == "bayesian" and shipped.get("answer") == "map":
        weights = "±1 weights, the most probable of a learnt distribution"
    elif precision == "bayesian" and draws is not None and draws > 1:
        weights = f"±1 weights, {draws:.0f} draws from a learnt distribution"
    what = _network(run)
    if weights:
        what = f"{what} with {weights}"
    test = run.shipped_reading
    if not section(run.result, "test"):
        return f"{what}, trained for {len(run.epochs)} epochs and not tested yet."
    on = f"on {whole(run.test_size)} unseen examples" if run.test_size else "on unseen examples"
    on += f" of {run.data_name}" if run.data_name else ""
    if run.is_regression:
        return f"{what}: a root-mean-square error of {fixed(number(test, 'rmse'), 4)} {on}."
    first = f"{what}: {percent(number(test, 'accuracy'))} correct {on}."
    bins = run.shipped_reliability()
    return f"{first} {said_and_right(bins)}" if bins else first


def ships(run: RunData) -> str:
    """What is shipped and why, in the run's own words; empty where it says nothing."""
    why = section(run.result, "shipped").get("why")
    if isinstance(why, str) and why.strip():
        return f"Shipped: {why.strip().rstrip('.')}."
    if abs(run.temperature - 1) > 1e-6 and run.result.get("test"):
        return f"Shipped with temperature {run.temperature:.2f}, fitted on validation; predictions are made with it."
    return ""
