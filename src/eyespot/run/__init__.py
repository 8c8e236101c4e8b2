"""Floor 4: sessions on a runtime, and prediction with them."""
