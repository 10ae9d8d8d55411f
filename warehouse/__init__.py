"""The lake's layout, the build, and the transaction around it."""
