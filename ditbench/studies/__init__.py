"""What many records say together, such as how error scales."""
