"""Runs the whole product on one machine: starts Airflow, follows its runs, prints what came out."""
