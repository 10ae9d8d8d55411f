"""What is watched: the book of rules, and loading it."""
