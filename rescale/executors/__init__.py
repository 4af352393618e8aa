"""Executors of the same jobs: in this process, in a pool of processes, by Ray."""
