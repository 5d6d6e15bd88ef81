"""Images against images: features, distances, references."""
