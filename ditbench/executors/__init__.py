"""The engines that carry jobs out: on this machine, in several processes, on Ray, on Slurm, under torchrun."""
