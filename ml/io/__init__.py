"""The edges: feature contracts from YAML, frames from DuckDB, models on disk, predictions into DuckDB."""
