"""The routes, by what they are about. Each gets the `Service` and works with nothing else."""
