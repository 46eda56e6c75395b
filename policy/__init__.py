"""Rules that every preview and `up` is held to: a CrossGuard pack over what the engine is about to do."""
