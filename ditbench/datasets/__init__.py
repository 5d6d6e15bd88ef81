"""What denoisers are trained on and samples are compared with."""
