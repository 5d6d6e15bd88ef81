"""What many records say together. Made from records alone: nothing here trains, and nothing imports torch."""
