"""Purchase propensity and behavioural segments: trained on the published features, scored in the daily build."""
