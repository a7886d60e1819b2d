"""The study database: engine, lock, retries, and what is used of Optuna's private names."""
