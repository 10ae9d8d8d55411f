"""What is said about an incident, and how it is laid out."""
