"""How pictures look: their layout in pixels, their colours and their words."""
