"""What was found, as JSON that explains itself."""
