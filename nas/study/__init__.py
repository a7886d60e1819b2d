"""The study, its samplers, its front: Optuna here, no ray."""
