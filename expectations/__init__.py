"""Great Expectations suites, one per boundary, and the job that gates on them."""
