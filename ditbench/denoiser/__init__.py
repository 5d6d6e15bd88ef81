"""What is asked of a network, its cost, its published weights."""
