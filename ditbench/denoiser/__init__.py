"""What is asked of a network, what it costs, and published weights for it."""
