"""The names of the DAGs that the rooms speak of."""

PIPELINE = "ga4_pipeline"
FORMER_PIPELINE = "ga4_daily"  # what older homes know it as
