"""Settings, paths, connections and the transaction around a build."""
