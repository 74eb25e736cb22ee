"""`bitspike predict RUN FILE`: classes and probabilities for new inputs."""

from __future__ import annotations

import json
from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def predict(
        run: Path = typer.Argument(..., help="A finished run folder."),
        source: str = typer.Argument(
            ..., help="Image, .bin, .npz, .csv, a folder of these, or - for CSV rows on stdin."
        ),
        draws: int | None = typer.Option(None, "--draws", min=0, help="Ensemble draws (0: MAP; default: as shipped)."),
        raw: bool = typer.Option(False, "--raw", help="Probabilities without temperature scaling."),
        as_json: bool = typer.Option(False, "--json", help="One JSON object per input, with every class."),
    ) -> None:
        """Class and probability of new inputs."""
        import torch

        from bitspike import data
        from bitspike.run.start import load

        ready = load(run)
        x, names = data.prepare(source if source == "-" else Path(source), ready.environment["data"]["form"])
        ready.check_seen(x, names)
        outputs = ready.predict(x, samples=draws, scaled=not raw)
        if outputs.ndim == 3:
            # A class for each step: one answer per step, up to each sequence's end.
            within = ~outputs.isnan().any(-1)
            steps = [torch.nonzero(row)[:, 0].tolist() for row in within]
            names = [f"{name} step {t + 1}" for name, some in zip(names, steps, strict=True) for t in some]
            outputs = outputs[within]
        for name, output in zip(names, outputs.tolist(), strict=True):
            if ready.form.task == "regression":
                half = len(output) // 2
                record = {"input": name, "value": output[:half], "spread": output[half:]}
                text = "  ".join(f"{v:.10g} +- {s:.3g}" for v, s in zip(output[:half], output[half:], strict=True))
            else:
                best = max(range(len(output)), key=output.__getitem__)
                record = {
                    "input": name,
                    "class": ready.classes[best],
                    "probability": output[best],
                    "probabilities": dict(zip(ready.classes, output, strict=True)),
                }
                text = f"{ready.classes[best]}  {output[best]:.4f}"
            typer.echo(json.dumps(record) if as_json else f"{name}  {text}")
