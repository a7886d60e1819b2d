"""The Optuna study of a search: plan, configuration, ask and tell, front and its file."""
