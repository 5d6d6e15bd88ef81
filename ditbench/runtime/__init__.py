"""The machine: devices, memory, precision, processes and ranks."""
