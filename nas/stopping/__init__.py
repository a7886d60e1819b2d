"""Early stopping: learning curves, the forecast of a final accuracy, the stopping rule."""
