"""Floor 5: recipe, trainer, run folder, checkpoint, evaluation."""
