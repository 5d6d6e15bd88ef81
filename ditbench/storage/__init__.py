"""Files: whole or absent, written by one at a time, read as what they should be."""
