"""The jobs: train on the published warehouse, score the build file."""
