"""What every room stands on: settings, errors, command lines, logging, connections. Imports nothing of the house."""
