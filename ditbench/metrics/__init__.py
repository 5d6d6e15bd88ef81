"""Images against images: features, distances and the real images that they are measured from."""
