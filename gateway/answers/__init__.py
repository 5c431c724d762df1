"""What an analyst is told of noisy tables: rows, intervals, warnings; computed from them and from nothing else."""
