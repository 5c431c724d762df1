"""The SQL that engines and the sandbox run, written from the algebra and from nothing else."""
