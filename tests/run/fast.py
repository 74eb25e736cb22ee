"""A small run of digits-bayes, for tests of whole runs."""

FAST = ["training.epochs=2", "model.layers=['32']", "evaluation.draws=3", "encoder.steps=4"]
FAST += ["evaluation.ship='ensemble'"]


def without_seconds(result):
    return {key: value for key, value in result.items() if key != "seconds"}
