"""Pure computation: contracts, time split, estimators, metrics, segmentation. Nothing here reads or writes."""
