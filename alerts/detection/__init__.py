"""Whether a day is unusual, and why: statistics only, no state."""
