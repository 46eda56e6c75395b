"""Components of the cluster: one a file, each takes Inputs and gives Outputs; only `__main__.py` knows them all."""
