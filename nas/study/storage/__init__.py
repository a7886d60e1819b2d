"""The study database: engine, lock, retries, batched writes."""
